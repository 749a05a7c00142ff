// Payloads that are decoded and run, and droppers that fetch them.

rule execute_decoded_text
{
    meta:
        id = "PICKET-YAR-020"
        title = "Decodes a payload and runs it"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1140,T1059.006"
        atlas = "AML.T0011.000"
        explanation = "Code is decoded from text and executed at once, which honest code has no use for"
    strings:
        $exec = /\b(exec|eval)\s*\(\s*(compile\s*\(\s*)?((zlib|gzip|bz2|lzma|marshal)\.(decompress|loads)\s*\(\s*)*((base64\.)?(b64decode|b32decode|b85decode|a85decode|urlsafe_b64decode)|bytes\.fromhex|binascii\.unhexlify)\s*\(/
        $import = /\b(exec|eval)\s*\(\s*(compile\s*\(\s*)?__import__\s*\(\s*["'](base64|zlib|marshal|codecs|binascii)["']\s*\)/
        $rot = /\b(exec|eval)\s*\(\s*codecs\.decode\s*\([^)\n]{1,400}["'](rot.?13|hex|base64)["']/
    condition:
        any of them
}

rule fetch_and_run
{
    meta:
        id = "PICKET-YAR-021"
        title = "Fetches a script from a bare address or a paste and runs it"
        severity = "high"
        version = "1.1"
        attack = "T1105,T1059.004"
        atlas = "AML.T0011.000"
        explanation = "A command pipes what it downloads from an address that nobody answers for into a shell"
    strings:
        $pipe = /\b(curl|wget)\b[^\n|;]{0,200}(https?:\/\/)?(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|pastebin\.com\/raw|paste\.ee\/r|transfer\.sh|[a-z0-9-]{1,60}\.ngrok(-free)?\.(io|app)|gist\.githubusercontent\.com|rentry\.co\/[a-z0-9]{1,20}\/raw|termbin\.com)[^\n|]{0,200}\|\s*(sudo\s+)?(ba|z|da)?sh\b/
        $local = /\b(curl|wget)\b[^\n|;]{0,60}(https?:\/\/)?(127\.0\.0\.1|0\.0\.0\.0|192\.168\.|10\.\d)/
    condition:
        $pipe and not $local
}

rule program_in_base64
{
    meta:
        id = "PICKET-YAR-022"
        title = "Native program kept as Base64 text"
        severity = "high"
        version = "1.0"
        attack = "T1027.009,T1027.013"
        atlas = "AML.T0018.002"
        explanation = "The header of a native program stands in text as Base64, ready to be written out and run"
    strings:
        $elf64 = "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" base64
        $elf32 = "\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" base64
        $pe = "This program cannot be run in DOS mode" base64
    condition:
        any of them
}

rule shellcode_through_ctypes
{
    meta:
        id = "PICKET-YAR-023"
        title = "Runs machine code from Python"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1620,T1059.006"
        atlas = "AML.T0011.000"
        explanation = "Memory is made executable, filled with bytes and called through ctypes"
    strings:
        $ctypes = "ctypes"
        $memory1 = /\.(mmap|mprotect|valloc|memfd_create|VirtualAlloc|VirtualProtect|HeapCreate)\b/
        $memory2 = /mmap\.mmap\(\s*-1[^)\n]{0,200}PROT_EXEC/
        $call = /\b(CFUNCTYPE|CreateThread|RtlMoveMemory|memmove)\b/
        $bytes = /(\\x[0-9a-fA-F]{2}){24}/
    condition:
        $ctypes and any of ($memory*) and $call and $bytes
}

rule payload_in_tensor_bits
{
    meta:
        id = "PICKET-YAR-024"
        title = "Reassembles code from the bits of weights"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1027.003,T1140"
        atlas = "AML.T0018.002"
        explanation = "Bits of a tensor are packed into bytes and executed: a payload hidden in the weights"
    strings:
        $weights = /\b(state_dict\(\)|parameters\(\)|\.weight\b|get_weights\(\)|tensors?\[)/
        $bits = /\b(packbits|unpackbits|view\(\s*(torch|np)\.(u?int8|uint32|int32)\s*\))/
        $run = /\b(exec|eval)\s*\(\s*[A-Za-z_.]{1,60}(\.decode\(|\.tobytes\(|\)|,)/
    condition:
        all of them
}

rule powershell_encoded
{
    meta:
        id = "PICKET-YAR-025"
        title = "PowerShell with an encoded command"
        severity = "high"
        version = "1.0"
        attack = "T1059.001,T1027.010"
        atlas = "AML.T0011.000"
        explanation = "A PowerShell command is passed in Base64, which hides what it does"
    strings:
        $encoded = /powershell(\.exe)?["',]?\s[^\n]{0,120}-e(nc|ncodedcommand|c)?["',]*\s+["']?[A-Za-z0-9+\/=]{40}/ nocase
    condition:
        $encoded
}
