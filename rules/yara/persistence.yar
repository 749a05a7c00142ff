// Start-up hooks, installation scripts, and ways to stay.

rule start_up_file_runs_code
{
    meta:
        id = "PICKET-YAR-040"
        title = "Python start-up file that runs code"
        severity = "high"
        version = "1.0"
        attack = "T1546.018,T1059.006"
        atlas = "AML.T0011.001"
        explanation = "A line of a .pth file runs at every start of Python and does more than an import"
    strings:
        $line = /(^|\n)import[ \t][^\n]{0,2000}\b(exec|eval|urlopen|urlretrieve|b64decode|subprocess|socket|os\.system|os\.popen|ctypes|marshal|requests\.(get|post))\b/
    condition:
        picket_name endswith ".pth" and $line and (picket_format == "pth-startup" or picket_format == "text" or picket_format == "python")
}

rule installation_script_runs_commands
{
    meta:
        id = "PICKET-YAR-041"
        title = "Installation script that fetches and runs"
        severity = "high"
        version = "1.0"
        attack = "T1195.002,T1059.006"
        atlas = "AML.T0010,AML.T0011.001"
        explanation = "A step of the installation is replaced by one that talks to the network and runs commands"
    strings:
        $class = /class\s+\w{1,60}\(\s*(\w{1,40}\.)?(install|develop|egg_info|build_py|build_ext|bdist_egg)\s*\)/
        $network = /\b(urlopen|urlretrieve|requests\.(get|post)|httpx\.(get|post)|socket\.socket|http\.client|curl |wget )/
        $run = /\b(os\.(system|popen|exec[lv]p?e?)|subprocess\.(run|call|Popen|check_call|check_output)|exec\(|eval\()/
    condition:
        picket_name == "setup.py" and $class and $network and $run
}

rule persistence_on_host
{
    meta:
        id = "PICKET-YAR-042"
        title = "Writes to where the host starts programs or lets people in"
        severity = "high"
        version = "1.0"
        attack = "T1053.003,T1098.004,T1543.002"
        atlas = "AML.T0011.000"
        explanation = "Something is added to SSH keys, cron or systemd, which no model needs"
    strings:
        $keys = /(>>\s*|open\(\s*[^)\n]{0,120})["']?[^\s"'\n]{0,80}\.ssh\/authorized_keys/
        $cron = /\|\s*crontab\s+-/
        $cron_file = /(>>?\s*|open\(\s*["'])\/etc\/cron(tab|\.(d|hourly|daily)\/\w{1,40})/
        $unit = /(>>?\s*|open\(\s*["'])\/(etc|usr\/lib|lib)\/systemd\/system\/[\w.-]{1,60}\.service/
        $preload = /(>>?\s*|open\(\s*["'])\/etc\/ld\.so\.preload/
    condition:
        any of them
}

rule environment_leaves
{
    meta:
        id = "PICKET-YAR-043"
        title = "Sends the environment or credential files away"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1552.001,T1567,T1041"
        atlas = "AML.T0025"
        explanation = "Environment variables or credential files are read and posted to the network"
    strings:
        $environ = /(requests|httpx|session|urllib\.request)\.(post|put|Request|urlopen)\([^\n]{0,300}\b(dict\(\s*os\.environ|os\.environ\.copy\(\)|json\s*=\s*os\.environ|data\s*=\s*os\.environ|str\(\s*os\.environ|dumps\(\s*(dict\()?\s*os\.environ)/
        $files = /(\.aws\/credentials|\.ssh\/id_(rsa|ed25519|ecdsa)|\.kube\/config|\.huggingface\/token|huggingface\/token|\.netrc|\.docker\/config\.json|\.config\/gcloud)/
        $hook = /https?:\/\/((canary\.|ptb\.)?discord(app)?\.com\/api\/webhooks\/|api\.telegram\.org\/bot|[a-z0-9]{5,40}\.(oast\.(fun|pro|live|site|online|me)|oastify\.com|burpcollaborator\.net|interact\.sh|requestbin\.net|pipedream\.net)|webhook\.site\/)/
    condition:
        $environ or ($files and $hook)
}
