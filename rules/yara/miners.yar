// Programs that mine: the usual guest on stolen GPUs.

rule crypto_miner
{
    meta:
        id = "PICKET-YAR-050"
        title = "Crypto-currency miner or its configuration"
        severity = "high"
        version = "1.0"
        attack = "T1496.001"
        atlas = "AML.T0034"
        explanation = "Addresses and options of mining programs stand here"
    strings:
        $stratum = /stratum\+(tcp|ssl|tls|udp):\/\/[A-Za-z0-9.-]{4,120}:\d{2,5}/
        $pool = /\b(pool\.supportxmr\.com|gulf\.moneroocean\.stream|xmr(-eu|-us|-asia)?[0-9]?\.nanopool\.org|pool\.minexmr\.com|pool\.hashvault\.pro|[a-z]{2,4}\.2miners\.com|eth[-a-z0-9]{0,12}\.ethermine\.org|[a-z0-9-]{1,20}\.herominers\.com|[a-z0-9-]{1,20}\.unmineable\.com|[a-z-]{1,12}\.f2pool\.com):\d{2,5}/
        $xmrig1 = "--donate-level"
        $xmrig2 = "\"donate-level\""
        $xmrig3 = "randomx" nocase
        $miner1 = /\b(xmrig|nbminer|t-rex|lolMiner|phoenixminer|ethminer|teamredminer|gminer|kawpowminer|cpuminer)\b/ nocase
        $miner2 = /(\s|["'])(--?(algo|coin|wallet|user|url)|-[ou])["',]?[\s=]+["']?[A-Za-z0-9]/
    condition:
        $stratum or $pool or (any of ($xmrig1, $xmrig2) and ($xmrig3 or $miner1)) or ($miner1 and #miner2 >= 3)
}
