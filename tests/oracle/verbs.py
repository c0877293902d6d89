"""The script of verbs that both sides run. A line is a verb with its flags; `NAME = create-key …` binds `$NAME` to
the new key's id and `$NAME.arn` to its ARN. A scenario begins on a fresh account and a fresh vault."""

_STATEMENT = '"Sid":"use","Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"'
POLICY = '{"Version":"2012-10-17","Statement":[{' + _STATEMENT + "}]}"
TAGS = "TagKey=team,TagValue=ledger"
TOKEN = "bm90IGEgdG9rZW4="
# Bytes, which versions of the aws command take alike from a file alone.
DAWN = b"attack at dawn"
# In files, by the names that the script has for them: `file://` and the path.
FILES = {
    "DESCRIPTION_FILE": "what is\nin a file",
    "POLICY_FILE": POLICY,
    "KEY_FILE": '{"Description": "from JSON", "KeyUsage": "ENCRYPT_DECRYPT", "Tags": [{"TagKey": "a", "TagValue": "1"}]}',
    "TAGS_FILE": '[{"TagKey": "in a file", "TagValue": "yes"}]',
}
BAD_POLICY = '{"Version":"2012-10-17","Statement":'

_NOBODY = "1234abcd-12ab-34cd-56ef-1234567890ab"

# Verbs that a key in some state takes or refuses: the state matrix.
_STATE_MATRIX = """
    describe-key --key-id $k
    get-key-policy --key-id $k --policy-name default
    put-key-policy --key-id $k --policy-name default --policy $POLICY
    get-key-rotation-status --key-id $k
    list-key-rotations --key-id $k
    enable-key-rotation --key-id $k
    get-key-rotation-status --key-id $k
    disable-key-rotation --key-id $k
    rotate-key-on-demand --key-id $k
    create-alias --alias-name alias/new --target-key-id $k
    list-aliases --key-id $k
    update-alias --alias-name alias/to --target-key-id $k
    update-alias --alias-name alias/at --target-key-id $other
    delete-alias --alias-name alias/mine
    cancel-key-deletion --key-id $k
"""

_TWO_KEYS = """
    k = create-key --description here
    other = create-key
    create-alias --alias-name alias/at --target-key-id $k
    create-alias --alias-name alias/mine --target-key-id $k
    create-alias --alias-name alias/to --target-key-id $other
"""

SCENARIOS = {
    "making and describing a key": """
        a = create-key
        b = create-key --description finance --key-usage ENCRYPT_DECRYPT --origin AWS_KMS --tags $TAGS
        c = create-key --policy $POLICY
        describe-key --key-id $a
        describe-key --key-id $b.arn
        create-alias --alias-name alias/finance --target-key-id $b
        describe-key --key-id alias/finance
        list-keys
        list-keys --limit 1000
        list-keys --limit 0
        list-keys --limit 1001
        get-key-policy --key-id $a --policy-name default
        get-key-policy --key-id $a
        get-key-policy --key-id $c --policy-name default
        get-key-policy --key-id $c --policy-name other
        put-key-policy --key-id $a --policy-name default --policy $POLICY
        put-key-policy --key-id $a --policy-name other --policy $POLICY
        put-key-policy --key-id $a --policy-name default --policy $BAD_POLICY
        get-key-policy --key-id $a --policy-name default
    """,
    "what isn't there": f"""
        describe-key --key-id {_NOBODY}
        describe-key --key-id alias/nothing
        describe-key --key-id nonsense
        enable-key --key-id {_NOBODY}
        disable-key --key-id {_NOBODY}
        enable-key-rotation --key-id {_NOBODY}
        disable-key-rotation --key-id {_NOBODY}
        get-key-rotation-status --key-id {_NOBODY}
        list-key-rotations --key-id {_NOBODY}
        rotate-key-on-demand --key-id {_NOBODY}
        schedule-key-deletion --key-id {_NOBODY}
        cancel-key-deletion --key-id {_NOBODY}
        get-key-policy --key-id {_NOBODY} --policy-name default
        put-key-policy --key-id {_NOBODY} --policy-name default --policy $POLICY
        create-alias --alias-name alias/mine --target-key-id {_NOBODY}
        update-alias --alias-name alias/nothing --target-key-id {_NOBODY}
        delete-alias --alias-name alias/nothing
        list-aliases --key-id {_NOBODY}
    """,
    "aliases": """
        a = create-key
        b = create-key
        create-alias --alias-name alias/application-current --target-key-id $a
        create-alias --alias-name alias/application-20180606 --target-key-id $a.arn
        list-aliases
        list-aliases --key-id $a
        list-aliases --key-id $b.arn
        create-alias --alias-name alias/application-current --target-key-id $b
        update-alias --alias-name alias/application-current --target-key-id $b
        list-aliases
        describe-key --key-id alias/application-current
        describe-key --key-id alias/application-20180606
        update-alias --alias-name alias/application-current --target-key-id $a
        list-aliases --key-id $a
        create-alias --alias-name alias/Case --target-key-id $a
        create-alias --alias-name alias/case --target-key-id $a
        list-aliases --key-id $a
        delete-alias --alias-name alias/Case
        delete-alias --alias-name alias/Case
        list-aliases --output text
        create-alias --alias-name alias/TestCMK --target-key-id $a
        update-alias --alias-name TestCMK --target-key-id $b
        list-aliases --key-id $b
        create-alias --alias-name no-prefix --target-key-id $a
        create-alias --alias-name alias/ --target-key-id $a
        create-alias --alias-name "alias/a b" --target-key-id $a
        create-alias --alias-name alias/aws/mine --target-key-id $a
        create-alias --alias-name alias/onto --target-key-id alias/case
        update-alias --alias-name alias/nothing --target-key-id $a
    """,
    "automatic rotation": """
        a = create-key
        create-alias --alias-name alias/a --target-key-id $a
        get-key-rotation-status --key-id $a
        enable-key-rotation --key-id $a
        get-key-rotation-status --key-id $a
        enable-key-rotation --key-id $a --rotation-period-in-days 90
        get-key-rotation-status --key-id $a.arn
        enable-key-rotation --key-id $a --rotation-period-in-days 2560
        get-key-rotation-status --key-id $a
        enable-key-rotation --key-id $a --rotation-period-in-days 89
        enable-key-rotation --key-id $a --rotation-period-in-days 2561
        get-key-rotation-status --key-id $a
        disable-key-rotation --key-id $a
        get-key-rotation-status --key-id $a
        disable-key-rotation --key-id $a
        enable-key-rotation --key-id alias/a
        get-key-rotation-status --key-id alias/a
        disable-key-rotation --key-id alias/a
        rotate-key-on-demand --key-id alias/a
        list-key-rotations --key-id alias/a
    """,
    "rotation on demand": """
        a = create-key
        list-key-rotations --key-id $a
        list-key-rotations --key-id $a --include-key-material ALL_KEY_MATERIAL
        enable-key-rotation --key-id $a --rotation-period-in-days 180
        rotate-key-on-demand --key-id $a
        get-key-rotation-status --key-id $a
        list-key-rotations --key-id $a
        disable-key-rotation --key-id $a
        rotate-key-on-demand --key-id $a.arn
        list-key-rotations --key-id $a
        list-key-rotations --key-id $a --include-key-material ROTATIONS_ONLY
        list-key-rotations --key-id $a --include-key-material ALL_KEY_MATERIAL
        describe-key --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
        rotate-key-on-demand --key-id $a
    """,
    "a disabled key": f"""
        {_TWO_KEYS}
        disable-key --key-id $k
        {_STATE_MATRIX}
        disable-key --key-id $k
        schedule-key-deletion --key-id $k --pending-window-in-days 7
        cancel-key-deletion --key-id $k
        describe-key --key-id $k
        enable-key --key-id $k
        enable-key --key-id $k
        describe-key --key-id $k
    """,
    "a key pending deletion": f"""
        {_TWO_KEYS}
        enable-key-rotation --key-id $k
        schedule-key-deletion --key-id $k
        {_STATE_MATRIX}
        schedule-key-deletion --key-id $other
        disable-key --key-id $other
        enable-key --key-id $other
        enable-key-rotation --key-id $other
        schedule-key-deletion --key-id $other
        describe-key --key-id $other
        describe-key --key-id $k
        enable-key --key-id $k
        get-key-rotation-status --key-id $k
    """,
    "the window of a deletion": """
        a = create-key
        schedule-key-deletion --key-id $a --pending-window-in-days 6
        schedule-key-deletion --key-id $a --pending-window-in-days 31
        describe-key --key-id $a
        schedule-key-deletion --key-id $a --pending-window-in-days 7
        describe-key --key-id $a
        cancel-key-deletion --key-id $a
        schedule-key-deletion --key-id $a.arn --pending-window-in-days 30
        cancel-key-deletion --key-id $a.arn
        cancel-key-deletion --key-id $a
        schedule-key-deletion --key-id alias/nothing
    """,
    "tags": """
        a = create-key --tags $TAGS
        list-resource-tags --key-id $a
        tag-resource --key-id $a --tags TagKey=team,TagValue=audit TagKey=cost,TagValue=
        list-resource-tags --key-id $a.arn
        untag-resource --key-id $a --tag-keys team absent
        list-resource-tags --key-id $a
        disable-key --key-id $a
        tag-resource --key-id $a --tags TagKey=state,TagValue=disabled
        schedule-key-deletion --key-id $a
        tag-resource --key-id $a --tags TagKey=state,TagValue=pending
        untag-resource --key-id $a --tag-keys state
        list-resource-tags --key-id $a
        list-resource-tags --key-id alias/nothing
    """,
    "answers in each form": """
        a = create-key --description "for forms" --tags $TAGS
        create-alias --alias-name alias/one --target-key-id $a
        create-alias --alias-name alias/two --target-key-id $a
        describe-key --key-id $a --query KeyMetadata.KeyState --output text
        describe-key --key-id $a --query KeyMetadata.KeyState --output json
        describe-key --key-id $a --query KeyMetadata.[KeyId,Enabled,MultiRegion,None] --output text
        describe-key --key-id $a --query KeyMetadata.{State:KeyState,On:Enabled,Id:KeyId} --output json
        describe-key --key-id $a --query KeyMetadata.{State:KeyState,On:Enabled,Id:KeyId} --output table
        describe-key --key-id $a --query KeyMetadata.EncryptionAlgorithms --output table
        describe-key --key-id $a --query KeyMetadata.KeyId --output table
        list-aliases --key-id $a --query Aliases[].AliasName --output text
        list-aliases --key-id $a --query "Aliases[?AliasName==`alias/one`].[AliasName,TargetKeyId]" --output text
        list-aliases --key-id $a --query "Aliases[].{To:TargetKeyId,Name:AliasName}" --output table
        list-aliases --key-id $a --query "sort_by(Aliases, &AliasName)[-1].AliasName" --output json
        tag-resource --key-id $a --tags TagKey=cost,TagValue=12 TagKey=unit,TagValue=
        list-resource-tags --key-id $a --output text
        list-resource-tags --key-id $a --output table
        list-resource-tags --key-id $a --query length(Tags) --output text
        list-resource-tags --key-id $a --page-size 2 --query length(Tags) --output json
        list-resource-tags --key-id $a --max-items 2 --query length(Tags) --output json
        list-key-policies --key-id $a --output text
        list-key-policies --key-id $a --output table
        list-resource-tags --key-id $a --output table --color on
        get-key-rotation-status --key-id $a --query KeyRotationEnabled --output text
        disable-key --key-id $a --query KeyId --output json
        disable-key --key-id $a --output text
    """,
    "tags that are refused": """
        a = create-key
        tag-resource --key-id $a --tags TagKey=aws:x,TagValue=1
        tag-resource --key-id $a --tags TagKey=AWS:x,TagValue=1
        tag-resource --key-id $a --tags TagKey=one,TagValue=1 TagKey=one,TagValue=2
        create-key --tags TagKey=one,TagValue=1 TagKey=one,TagValue=2
        list-resource-tags --key-id $a
    """,
    "keys that are used for data": f"""
        a = create-key
        b = create-key
        create-alias --alias-name alias/data --target-key-id $a
        blob = encrypt --key-id alias/data --plaintext $DAWN
        decrypt --ciphertext-blob $blob
        decrypt --ciphertext-blob $blob --key-id $a
        decrypt --ciphertext-blob $blob --key-id alias/data --encryption-algorithm SYMMETRIC_DEFAULT
        decrypt --ciphertext-blob $blob --key-id $b
        decrypt --ciphertext-blob $blob --encryption-context place=shelf
        bound = encrypt --key-id $a.arn --plaintext $DAWN --encryption-context place=shelf,row=3
        decrypt --ciphertext-blob $bound --encryption-context row=3,place=shelf
        decrypt --ciphertext-blob $bound --encryption-context place=shelf
        decrypt --ciphertext-blob $bound
        moved = re-encrypt --ciphertext-blob $bound --source-encryption-context place=shelf,row=3 --destination-key-id $b --destination-encryption-context new=1
        decrypt --ciphertext-blob $moved --encryption-context new=1
        decrypt --ciphertext-blob $moved --encryption-context place=shelf,row=3
        re-encrypt --ciphertext-blob $bound --destination-key-id $b
        re-encrypt --ciphertext-blob $blob --destination-key-id {_NOBODY}
        re-encrypt --ciphertext-blob $blob --source-key-id $b --destination-key-id $b
        datakey = generate-data-key --key-id $a --key-spec AES_256 --encryption-context a=b
        decrypt --ciphertext-blob $datakey --encryption-context a=b --query length(Plaintext) --output text
        short = generate-data-key --key-id $a --key-spec AES_128
        decrypt --ciphertext-blob $short --query length(Plaintext) --output text
        long = generate-data-key --key-id $a --number-of-bytes 64
        decrypt --ciphertext-blob $long --query length(Plaintext) --output text
        alone = generate-data-key-without-plaintext --key-id $b --number-of-bytes 16
        decrypt --ciphertext-blob $alone --query length(Plaintext) --output text
        generate-data-key --key-id $a
        generate-data-key --key-id $a --key-spec AES_256 --number-of-bytes 32
        generate-data-key --key-id $a --number-of-bytes 0
        generate-data-key --key-id $a --number-of-bytes 1025
        generate-data-key --key-id {_NOBODY} --key-spec AES_256
        generate-random --number-of-bytes 32 --query length(Plaintext) --output text
        generate-random --number-of-bytes 1025
        generate-random
        encrypt --key-id {_NOBODY} --plaintext $DAWN
        encrypt --key-id alias/nothing --plaintext $DAWN
        encrypt --key-id $a --plaintext $DAWN --encryption-algorithm RSAES_OAEP_SHA_256
        encrypt --key-id $a --plaintext $DAWN --dry-run
        decrypt --ciphertext-blob $DAWN
        disable-key --key-id $a
        encrypt --key-id $a --plaintext $DAWN
        decrypt --ciphertext-blob $blob
        generate-data-key --key-id $a --key-spec AES_256
        re-encrypt --ciphertext-blob $blob --destination-key-id $b
        re-encrypt --ciphertext-blob $moved --source-encryption-context new=1 --destination-key-id $a
        enable-key --key-id $a
        decrypt --ciphertext-blob $blob
    """,
    "calls that are repeated": """
        a = create-key --tags $TAGS
        b = create-key
        create-alias --alias-name alias/mine --target-key-id $a
        create-alias --alias-name alias/mine --target-key-id $a
        update-alias --alias-name alias/mine --target-key-id $b
        update-alias --alias-name alias/mine --target-key-id $b
        delete-alias --alias-name alias/mine
        delete-alias --alias-name alias/mine
        enable-key --key-id $a
        disable-key --key-id $a
        disable-key --key-id $a
        enable-key --key-id $a
        enable-key-rotation --key-id $a
        enable-key-rotation --key-id $a
        disable-key-rotation --key-id $a
        disable-key-rotation --key-id $a
        tag-resource --key-id $a --tags $TAGS
        untag-resource --key-id $a --tag-keys team
        untag-resource --key-id $a --tag-keys team
        update-key-description --key-id $a --description same
        update-key-description --key-id $a --description same
        put-key-policy --key-id $a --policy-name default --policy $POLICY
        put-key-policy --key-id $a --policy-name default --policy $POLICY
        schedule-key-deletion --key-id $a
        schedule-key-deletion --key-id $a
        cancel-key-deletion --key-id $a
    """,
    "lines as people write them": """
        a = create-key --description $DESCRIPTION_FILE --tags 'TagKey="a = b",TagValue="c=d e"' TagKey=empty,TagValue=
        describe-key --key $a
        list-resource-tags --key-id $a
        tag-resource --key-id $a --tags '[{"TagKey": "json", "TagValue": "a b"}]'
        tag-resource --key-id $a --tags '{"TagKey": "one", "TagValue": "1"}' '{"TagKey": "two", "TagValue": "2"}'
        tag-resource --key-id $a --tags $TAGS_FILE
        tag-resource --key-id $a --tags "TagKey='x@y',TagValue=1 + 2" TagKey=k,TagValue=v --color off
        list-resource-tags --key-id $a
        untag-resource --key-id $a --tag-keys '["json", "one"]'
        untag-resource --key-id $a --tag-keys "a = b" two
        list-resource-tags --key-id $a
        b = create-key --cli-input-json $KEY_FILE --description "the flag wins"
        describe-key --key-id $b --cli-read-timeout 30 --cli-connect-timeout 30
        list-resource-tags --key-id $b
        c = create-key --key-spec SYMMETRIC_DEFAULT --no-multi-region --no-bypass-policy-lockout-safety-check
        d = create-key --customer-master-key-spec SYMMETRIC_DEFAULT --description first --description last
        put-key-policy --key-id $a --policy-name default --policy $POLICY_FILE
        get-key-policy --key-id $a --policy-name default
        update-key-description --key-id $a --description ""
        describe-key --key-id $a
        create-alias --alias alias/short --target $a
        list-aliases --key $a
        schedule-key-deletion --key-id $a --pending 7
        describe-key --generate-cli-skeleton
        tag-resource --generate-cli-skeleton
        put-key-policy --generate-cli-skeleton
        list-keys --generate-cli-skeleton
    """,
    "a key for imported material": """
        a = create-key --origin EXTERNAL
        describe-key --key-id $a
        enable-key-rotation --key-id $a
        get-key-rotation-status --key-id $a
        rotate-key-on-demand --key-id $a
        enable-key --key-id $a
        disable-key --key-id $a
        get-parameters-for-import --key-id $a --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_2048
        import-key-material --key-id $a --import-token $TOKEN --encrypted-key-material $TOKEN
        delete-imported-key-material --key-id $a
        schedule-key-deletion --key-id $a
        describe-key --key-id $a
        cancel-key-deletion --key-id $a
        b = create-key
        get-parameters-for-import --key-id $b --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_2048
    """,
}
