//! YARA rules over chosen regions of a file.

use yara_x as _;
