// Marks that offensive tools leave.

rule stager_of_framework
{
    meta:
        id = "PICKET-YAR-070"
        title = "Stager of an attack framework"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1587.001,T1059.006"
        atlas = "AML.T0011.000"
        explanation = "Names that only an implant or stager of a known attack framework uses stand together"
    strings:
        $msf1 = "stdapi_sys_process_execute"
        $msf2 = "TLV_TYPE_"
        $msf3 = "core_loadlib"
        $msf4 = /struct\.unpack\(\s*["']>I["']\s*,\s*\w{1,10}\.recv\(\s*4\s*\)\s*\)\[0\]/
        $sliver1 = "sliverpb"
        $sliver2 = "github.com/bishopfox/sliver"
        $beacon1 = "ReflectiveLoader"
        $beacon2 = "beacon.x64.dll"
        $beacon3 = "%s as %s\\%s: %d"
        $mythic = /"(uuid|payload_uuid)"[^\n]{0,200}"(action)"\s*:\s*"(checkin|get_tasking)"/
        $run = /\bexec\s*\(/
    condition:
        2 of ($msf1, $msf2, $msf3) or ($msf4 and $run) or any of ($sliver*) or 2 of ($beacon*) or $mythic
}

rule pickle_injection_tool
{
    meta:
        id = "PICKET-YAR-071"
        title = "Code that plants a payload in a model file"
        severity = "medium"
        version = "1.0"
        attack = "T1587.001"
        atlas = "AML.T0018.002"
        explanation = "A __reduce__ that returns a command, beside code that writes a model: a tool to poison artifacts, or its test"
    strings:
        $reduce = /def\s+__reduce(_ex)?__\s*\([^)\n]{0,60}\)[^:\n]{0,60}:/
        $command = /return\s*\(?\s*(os\.(system|popen)|subprocess\.\w{2,20}|exec|eval|builtins\.(exec|eval)|runpy\.\w{3,20}|pty\.spawn)\s*,/
        $write = /\b(torch\.save|pickle\.dumps?|joblib\.dump|cloudpickle\.dumps?|dill\.dumps?|inject_payload|insert_python_exec|insert_python_eval)\b/
    condition:
        all of them
}
