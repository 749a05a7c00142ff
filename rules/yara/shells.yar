// Shells that call home.

rule reverse_shell_bash
{
    meta:
        id = "PICKET-YAR-030"
        title = "Shell over a TCP connection"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1059.004,T1071"
        atlas = "AML.T0011.000"
        explanation = "A shell is connected to a remote address"
    strings:
        $bash = /\b(ba|z)?sh\s+-i\s*(>&|&>|<>|[0-9]?>)\s*\/dev\/(tcp|udp)\/[^\/\s]{1,120}\/\d{1,5}/
        $fd = /exec\s+\d+<>\s*\/dev\/(tcp|udp)\/[^\/\s]{1,120}\/\d{1,5}/
        $netcat = /\b(nc|ncat|netcat)(\.traditional|\.openbsd)?\s[^\n|]{0,120}-(e|c)\s+["']?(\/bin\/|\/usr\/bin\/)?(ba|z|da)?sh\b/
        $fifo = /mkfifo\s[^\n]{1,120}\|[^\n]{0,40}sh\s+-i[^\n]{0,80}\|\s*(nc|ncat|netcat|openssl)\b/
        $socat = /socat\s[^\n]{0,200}(exec|system):["']?(\/bin\/)?(ba)?sh[^\n]{0,120}tcp/ nocase
        $socat2 = /socat\s[^\n]{0,80}tcp[^\n]{0,120}(exec|system):["']?(\/bin\/)?(ba)?sh/ nocase
    condition:
        any of them
}

rule reverse_shell_python
{
    meta:
        id = "PICKET-YAR-031"
        title = "Python that connects a shell to a socket"
        severity = "critical"
        verdict = "malicious"
        version = "1.0"
        attack = "T1059.006,T1071"
        atlas = "AML.T0011.000"
        explanation = "A socket is put in the place of standard input and output of a shell"
    strings:
        $connect = /\.connect(_ex)?\(\s*\(/
        $dup = /os\.dup2\(\s*\w{1,40}\.fileno\(\)\s*,\s*[012]\s*\)/
        $pty = /pty\.spawn\(\s*\[?["'](\/bin\/|\/usr\/bin\/)?(ba|z|da)?sh["']/
        $shell = /(subprocess\.(call|run|Popen|check_call)|os\.(system|popen|execl|execv|execve|spawnl))\(\s*\[?\s*["'](\/bin\/|\/usr\/bin\/)?(ba|z|da)?sh["' ]/
        $piped = /Popen\(\s*\[?["'](\/bin\/)?(ba)?sh["'][^)\n]{0,200}stdin\s*=\s*\w{1,40}(\.fileno\(\)|\.makefile\()/
    condition:
        $connect and (($dup and ($pty or $shell)) or $piped)
}
