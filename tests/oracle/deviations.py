"""Where the two are known to differ, each with its reason. A difference that isn't listed fails the comparison, and so
does one that is listed and isn't seen."""

from fnmatch import fnmatchcase
from typing import NamedTuple


class Deviation(NamedTuple):
    """Differences that match `pattern` (shell's wildcards; `PATH: LOCALSTACK | REKEYFS`) in steps that match `step`."""

    step: str
    pattern: str
    reason: str

    def covers(self, step, difference):
        """Whether it explains this difference."""
        return fnmatchcase(step, self.step) and fnmatchcase(difference, self.pattern)


def _everywhere(pattern, reason):
    return Deviation("*", pattern, reason)


_UNCHECKED = "LocalStack leaves it to the client to check this, AWS's service refuses it"
_NOT_THERE = "LocalStack 4.7 has no ListKeyRotations; AWS's description of it is what the answer is checked against"

DEVIATIONS = (
    # AWS's fields that only one of them has.
    _everywhere(
        "*KeyMetadata.CurrentKeyMaterialId: absent | *",
        "AWS has it in each KeyMetadata with material (DescribeKey, API reference)",
    ),
    _everywhere(
        "answer.Aliases[[][]].LastUpdatedDate: absent | *",
        "AWS has it in each AliasListEntry (ListAliases, API reference)",
    ),
    Deviation(
        "get-key-policy *",
        "answer.PolicyName: absent | \"default\"",
        "AWS answers the policy's name too (GetKeyPolicy, API reference)",
    ),
    Deviation(
        "list-keys --limit 1000",
        "answer.Truncated: absent | false",
        "AWS answers it (ListKeys, API reference); without --limit the aws command asks for all pages and drops it",
    ),
    Deviation(
        "schedule-key-deletion *",
        'answer.KeyId: "<*>" | "ARN:key/<*>"',
        "AWS answers the ARN (ScheduleKeyDeletion, API reference)",
    ),
    # The policy of a key that was made without one.
    Deviation(
        "get-key-policy *",
        "answer.Policy.Statement[[][]].Principal.AWS: \"arn:aws:iam::*:root\" | \"[*]\"",
        "in AWS the default names the account, whose IAM policies then decide; rekeyfs has users and no IAM",
    ),
    Deviation(
        "get-key-policy *",
        "answer.Policy.Statement[[][]].Sid: \"Enable IAM User Permissions\" | *",
        "as above",
    ),
    Deviation(
        "get-key-policy --key-id $a",
        "*",
        "in AWS the policy's name is optional and `default` (GetKeyPolicy, API reference)",
    ),
    Deviation(
        "put-key-policy * --policy-name other *",
        'refused: "UnsupportedOperationException * | "NotFoundException *',
        "there is no policy of that name, as get-key-policy says on both sides",
    ),
    Deviation("put-key-policy * $BAD_POLICY", "*", "AWS: MalformedPolicyDocumentException; LocalStack stores any text"),
    Deviation("get-key-policy *", 'answer.Policy: "not JSON: *', "as above: it had stored that"),
    # Values out of their range or pattern.
    Deviation("list-keys --limit 0", "*", f"{_UNCHECKED}: 1 to 1000 (ListKeys, API reference)"),
    Deviation("list-keys --limit 1001", "*", f"{_UNCHECKED}: 1 to 1000 (ListKeys, API reference)"),
    Deviation("create-alias --alias-name alias/ *", "*", f"{_UNCHECKED}: alias/ and at least one more character"),
    Deviation("create-alias --alias-name alias/a b *", "*", f"{_UNCHECKED}: [a-zA-Z0-9/_-]+ after alias/"),
    Deviation("create-alias --alias-name alias/aws/*", "*", f"{_UNCHECKED}: alias/aws/ is reserved (CreateAlias)"),
    Deviation("create-alias * alias/case", "*", "AWS: the target is a key id or key ARN, never an alias (CreateAlias)"),
    Deviation("enable-key-rotation * 89", "*", f"{_UNCHECKED}: 90 to 2560 (EnableKeyRotation, API reference)"),
    Deviation("enable-key-rotation * 2561", "*", f"{_UNCHECKED}: 90 to 2560 (EnableKeyRotation, API reference)"),
    Deviation(
        "get-key-rotation-status --key-id $a",
        "answer.RotationPeriodInDays: 2561 | 2560",
        "as above: it had stored that",
    ),
    # Rotation.
    Deviation(
        "get-key-rotation-status *",
        'answer.NextRotationDate: "<date: +365 days>" | "<date: +* days>"',
        "AWS: the first rotation is as many days after enabling as the period says; LocalStack always says 365",
    ),
    Deviation(
        "get-key-rotation-status *",
        'answer.NextRotationDate: "<date: +365 days>" | absent',
        "AWS answers it only while rotation is enabled (GetKeyRotationStatus, API reference)",
    ),
    Deviation(
        "get-key-rotation-status --key-id alias/a",
        "answer.RotationPeriodInDays: 2561 | 365",
        "AWS: 365 if no period is given (EnableKeyRotation); LocalStack goes on with the one given before",
    ),
    Deviation("*rotat* alias/a", 'answer.KeyId: "alias/a" | "<a>"', "AWS answers the key's id, not what was asked for"),
    Deviation("list-key-rotations *", 'refused: "InternalFailure * | *', _NOT_THERE),
    Deviation("list-key-rotations *", "answer: absent | *", _NOT_THERE),
    Deviation(
        "rotate-key-on-demand --key-id $a",
        'refused: "LimitExceededException * | absent',
        "AWS: 25 for each key (RotateKeyOnDemand); LocalStack stops after 10",
    ),
    Deviation("rotate-key-on-demand --key-id $a", 'answer: absent | {"KeyId": "<a>"}', "as above"),
    # Key states.
    Deviation(
        "get-key-rotation-status --key-id $k",
        "answer.KeyRotationEnabled: true | false",
        "AWS: false while deletion is pending, and the flag is back when that is cancelled (GetKeyRotationStatus)",
    ),
    Deviation(
        "get-key-rotation-status --key-id $k",
        "answer.RotationPeriodInDays: 365 | absent",
        "as above",
    ),
    Deviation(
        "cancel-key-deletion *",
        'refused: "DisabledException * | "KMSInvalidStateException *',
        "AWS: `is not pending deletion`; CancelKeyDeletion has no DisabledException",
    ),
    # Keys for imported material.
    Deviation(
        "e*able-key-rotation --key-id $a",
        "*absent*",
        "AWS: not for imported material, of which there is none yet; LocalStack enables it",
    ),
    Deviation("get-key-rotation-status --key-id $a", "answer.KeyRotationEnabled: true | false", "as above"),
    Deviation("get-key-rotation-status --key-id $a", "answer.RotationPeriodInDays: 365 | absent", "as above"),
    Deviation(
        "rotate-key-on-demand --key-id $a",
        'refused: "InternalFailure * | "KMSInvalidStateException *',
        "LocalStack can't rotate imported material",
    ),
    Deviation("enable-key --key-id $a", "*absent*", "AWS: KMSInvalidStateException while an import is pending"),
    Deviation("disable-key --key-id $a", "*absent*", "as above"),
    Deviation(
        "get-parameters-for-import *",
        'answer.ParametersValidTo: "<date: +100 days>" | "<date: +1 days>"',
        "AWS: 24 hours (GetParametersForImport)",
    ),
    Deviation(
        "import-key-material *",
        'refused: "NotFoundException * | "ValidationException *',
        "a token that nobody gave out; AWS calls it InvalidImportTokenException, which neither of them has",
    ),
    Deviation(
        "delete-imported-key-material *",
        'answer: null | {"KeyId": *, "KeyMaterialId": *}',
        "AWS answers both (DeleteImportedKeyMaterial, API reference)",
    ),
    # Keys that are used for data.
    _everywhere(
        'answer.KeyMaterialId: absent | "<material>"',
        "AWS has it in what a key encrypted, decrypted or made (Decrypt, GenerateDataKey, API reference)",
    ),
    Deviation(
        "*crypt *",
        'answer.EncryptionAlgorithm: absent | "SYMMETRIC_DEFAULT"',
        "AWS answers it (Encrypt, Decrypt, API reference); LocalStack only if it is asked for",
    ),
    Deviation(
        "re-encrypt *",
        "*InternalError of ReEncrypt*",
        "LocalStack 4.7 fails at ReEncrypt; AWS's description of it is what the answer is checked against",
    ),
    Deviation("re-encrypt *", "answer: absent | *", "as above"),
    Deviation("decrypt --ciphertext-blob $moved *", "*", "as above: there is nothing to decrypt"),
    Deviation("generate-data-key *", 'answer.Plaintext: "<32 bytes>" | *', "LocalStack gives 32 bytes whatever is asked for"),
    Deviation("decrypt * length(Plaintext) *", 'lines[[][]]: "44" | *', "as above"),
    Deviation(
        "generate-data-key --key-id $a*",
        '*absent | "ValidationException of GenerateDataKey*',
        f"{_UNCHECKED}: either a spec or 1 to 1024 bytes (GenerateDataKey, API reference)",
    ),
    Deviation("generate-data-key --key-id $a*", "answer: * | absent", "as above"),
    Deviation(
        "encrypt * RSAES_OAEP_SHA_256",
        "*",
        "AWS: InvalidKeyUsageException for a symmetric key; LocalStack answers with the algorithm that it was asked for",
    ),
    Deviation("encrypt * --dry-run", "*", "AWS: DryRunOperationException; LocalStack does it"),
    # Text.
    Deviation(
        "list-aliases --output text",
        "lines[[][]]: *",
        "rekeyfs prints the four columns of AWS's page on manual rotation, which grep and cut rely on; without times",
    ),
    Deviation(
        "update-alias --alias-name TestCMK *",
        "*",
        "AWS's page on automatic rotation leaves the prefix out; rekeyfs takes it, AWS's service no longer does",
    ),
    Deviation("list-aliases --key-id $b", "answer.Aliases: [[]] | *", "as above: the alias had moved"),
)
