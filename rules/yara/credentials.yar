// Credentials in what is no text file: metadata, pickles, graphs. Text files are searched by the scanner itself.

rule private_key_in_artifact
{
    meta:
        id = "PICKET-YAR-060"
        title = "Private key inside an artifact"
        severity = "high"
        version = "1.0"
        attack = "T1552.001"
        atlas = "AML.T0055"
        explanation = "Whoever gets this artifact gets a private key"
    strings:
        $pem = /-----BEGIN ((RSA|EC|DSA|OPENSSH|ENCRYPTED) )?PRIVATE KEY-----(\\n|\r?\n)[A-Za-z0-9+\/=]{40}/
    condition:
        $pem and picket_format != "text" and picket_format != "json" and picket_format != "yaml" and picket_format != "python" and picket_format != "notebook"
        and picket_format != "script" and picket_format != "xml"
}

rule token_in_artifact
{
    meta:
        id = "PICKET-YAR-061"
        title = "Access token inside an artifact"
        severity = "high"
        version = "1.0"
        attack = "T1552.001"
        atlas = "AML.T0055"
        explanation = "Whoever gets this artifact gets the account that the token opens"
    strings:
        $hugging_face = /\bhf_[A-Za-z]{34}\b/
        $github = /\bgh[pousr]_[A-Za-z0-9]{36}\b/
        $aws = /\bAKIA[A-Z2-7]{16}\b/
        $gitlab = /\bglpat-[A-Za-z0-9_-]{20}\b/
        $openai = /\bsk-proj-[A-Za-z0-9_-]{40,}/
        $slack = /\bxox[bp]-\d{10,13}-\d{10,13}-[A-Za-z0-9]{24}/
    condition:
        any of them and picket_format != "text" and picket_format != "json" and picket_format != "yaml" and picket_format != "python"
        and picket_format != "notebook" and picket_format != "script" and picket_format != "xml" and picket_format != "jinja"
}

rule cloud_secret
{
    meta:
        id = "PICKET-YAR-062"
        title = "Secret of a cloud account"
        severity = "high"
        version = "1.0"
        attack = "T1552.001"
        atlas = "AML.T0055"
        explanation = "A secret of a cloud account stands here in full"
    strings:
        $aws = /aws_secret_access_key["']?\s*[=:]\s*["']?[A-Za-z0-9\/+]{40}\b/ nocase
        $azure = /AccountName=[a-z0-9]{3,24};AccountKey=[A-Za-z0-9+\/]{80,}={0,2}/
        $gcp = /"private_key"\s*:\s*"-----BEGIN PRIVATE KEY-----\\n[A-Za-z0-9+\/=]{40}/
        $kube = /client-key-data:\s*LS0tLS1CRUdJTi[A-Za-z0-9+\/=]{60}/
        $slack_hook = /https:\/\/hooks\.slack\.com\/services\/T[A-Z0-9]{8,12}\/B[A-Z0-9]{8,12}\/[A-Za-z0-9]{24}/
        $example = /EXAMPLE(KEY)?\b/
    condition:
        any of ($aws, $azure, $gcp, $kube, $slack_hook) and not $example
}
