// Pickles hidden in what is no pickle: the machine that runs pickles symbolically judges the others.

rule pickle_global_in_other_content
{
    meta:
        id = "PICKET-YAR-001"
        title = "Pickle instructions that run a command, inside other content"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1027.009,T1059.006"
        atlas = "AML.T0011.000,AML.T0018.002"
        explanation = "Instructions of a pickle that import a function which runs commands or code stand in content that is no pickle"
    strings:
        // GLOBAL, module, name, then an instruction that only follows in a pickle: mark, tuple, string, memo.
        $global = /c(os|posix|nt|subprocess|pty|runpy|builtins|__builtin__)\n(system|popen|exec|eval|execfile|Popen|call|check_call|check_output|run|spawn|run_path|_run_code|__import__)\n[(\x85\x86\x94qVSX]/
        // Two short strings and STACK_GLOBAL, memoised or not.
        $stack = /\x8c[\x02-\x0b](os|posix|nt|subprocess|pty|runpy|builtins)\x94?\x8c[\x03-\x0c](system|popen|exec|eval|Popen|call|check_call|check_output|run|spawn|run_path|__import__)\x94?\x93/
    condition:
        (any of them)
        and picket_format != "pickle" and picket_format != "joblib" and picket_format != "pytorch-legacy"
}

rule pickle_in_base64
{
    meta:
        id = "PICKET-YAR-002"
        title = "Pickle that runs a command, in Base64"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1027.013,T1059.006"
        atlas = "AML.T0011.000,AML.T0018.002"
        explanation = "A pickle that imports a function which runs commands or code is kept as Base64 text"
    strings:
        $a = "cos\nsystem\n" base64 base64wide
        $b = "cposix\nsystem\n" base64 base64wide
        $c = "csubprocess\nPopen\n" base64 base64wide
        $d = "cbuiltins\nexec\n" base64 base64wide
        $e = "cbuiltins\neval\n" base64 base64wide
        $f = "c__builtin__\neval\n" base64 base64wide
        $g = "c__builtin__\nexec\n" base64 base64wide
        $h = "\x8c\x05posix\x94\x8c\x06system\x94\x93" base64 base64wide
        $i = "\x8c\x02os\x94\x8c\x06system\x94\x93" base64 base64wide
        $j = "\x8c\x08builtins\x94\x8c\x04exec\x94\x93" base64 base64wide
        $k = "\x8c\x08builtins\x94\x8c\x04eval\x94\x93" base64 base64wide
        $l = "\x8c\nsubprocess\x94\x8c\x05Popen\x94\x93" base64 base64wide
        $m = "\x8c\x02nt\x94\x8c\x06system\x94\x93" base64 base64wide
    condition:
        any of them
}

rule pickle_in_hex
{
    meta:
        id = "PICKET-YAR-003"
        title = "Pickle that runs a command, in hexadecimal"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1027.013,T1059.006"
        atlas = "AML.T0011.000,AML.T0018.002"
        explanation = "A pickle that imports a function which runs commands or code is kept as hexadecimal text"
    strings:
        // "cos\nsystem\n", "cposix\nsystem\n", the protocol 4 forms of both, and of builtins.exec and builtins.eval.
        $a = "636f730a73797374656d0a" nocase
        $b = "63706f7369780a73797374656d0a" nocase
        $c = "8c05706f736978948c0673797374656d9493" nocase
        $d = "8c026f73948c0673797374656d9493" nocase
        $e = "8c086275696c74696e73948c04657865639493" nocase
        $f = "8c086275696c74696e73948c046576616c9493" nocase
    condition:
        any of them
}
