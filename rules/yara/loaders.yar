// Code that loads what it fetched or decoded a moment before: the file that is scanned is then not the one that runs.

rule load_from_network
{
    meta:
        id = "PICKET-YAR-010"
        title = "Unpickles what it downloads"
        severity = "high"
        version = "1.0"
        attack = "T1105,T1059.006"
        atlas = "AML.T0010,AML.T0011.000"
        explanation = "Whoever answers at that address runs code on this host: the download goes to a loader that executes pickles"
    strings:
        $direct = /\b(torch|pickle|cPickle|dill|cloudpickle|joblib|pd|pandas)\.(load|loads|read_pickle)\(\s*(io\.)?(BytesIO\()?\s*(requests\.get|urllib\.request\.urlopen|urlopen|httpx\.get|urllib2\.urlopen)\s*\(/
        $pickle_url = /\bread_pickle\(\s*["']https?:\/\//
    condition:
        any of them
}

rule load_from_text
{
    meta:
        id = "PICKET-YAR-011"
        title = "Unpickles what it decodes from text"
        severity = "high"
        version = "1.0"
        attack = "T1140,T1059.006"
        atlas = "AML.T0011.000"
        explanation = "A pickle is decoded from text and loaded at once, which hides from scanners of files what runs"
    strings:
        $chain = /\b(pickle|cPickle|dill|cloudpickle|marshal)\.loads\(\s*((zlib|gzip|bz2|lzma)\.decompress\(\s*)?((base64\.)?(b64decode|b32decode|b85decode|a85decode)|bytes\.fromhex|codecs\.decode|binascii\.unhexlify)\(\s*[rb]{0,2}["']/
    condition:
        $chain
}

rule hub_load_without_asking
{
    meta:
        id = "PICKET-YAR-012"
        title = "Runs the code of a hub repository without asking"
        severity = "medium"
        version = "1.0"
        attack = "T1105,T1059.006"
        atlas = "AML.T0010"
        explanation = "torch.hub.load with trust_repo runs Python from a repository that anyone may own, without a question to the user"
    strings:
        $load = /torch\.hub\.load\(\s*["'][^"'\n]{3,120}["'][^)\n]{0,300}trust_repo\s*=\s*(True|1)\b/
        $own = /torch\.hub\.load\(\s*["'](pytorch|facebookresearch)\//
    condition:
        $load and not $own
}
