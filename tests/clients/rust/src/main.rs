//! What a program does with AWS's SDK for Rust, done at `rekeyfs kms serve`. Region, credentials and address come from the
//! environment, as for any program of the SDK (`AWS_ENDPOINT_URL_KMS`). Ends with 0 if all of it is as AWS answers.

use std::collections::HashSet;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::operation::create_alias::CreateAliasError;
use aws_sdk_kms::operation::decrypt::DecryptError;
use aws_sdk_kms::operation::describe_key::DescribeKeyError;
use aws_sdk_kms::operation::encrypt::EncryptError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeySpec, KeyState, KeyUsageType, RotationType, Tag};

type Tried = Result<(), Box<dyn std::error::Error>>;

/// Aliases and keys for the paginators: more than two of their pages.
const MANY: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Tried {
    // The endpoint is at the loopback: no TLS need be compiled.
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::from_env().http_client(http).load().await;
    let kms = Client::new(&config);
    let key = makes_and_describes(&kms).await?;
    encrypts_and_decrypts(&kms, &key).await?;
    makes_data_keys(&kms, &key).await?;
    rotates(&kms, &key).await?;
    pages(&kms).await?;
    refusals_have_types(&kms, &key).await?;
    deletes(&kms).await?;
    println!("done");
    Ok(())
}

async fn makes_and_describes(kms: &Client) -> Result<String, Box<dyn std::error::Error>> {
    let tag = Tag::builder().tag_key("made by").tag_value("the SDK for Rust").build()?;
    let made = kms.create_key().description("töst \u{2028} \"x\"").tags(tag).send().await?;
    let made = made.key_metadata.ok_or("no metadata")?;
    kms.create_alias().alias_name("alias/sdk-rust").target_key_id(&made.key_id).send().await?;
    for name in [made.key_id.as_str(), made.arn().ok_or("no ARN")?, "alias/sdk-rust"] {
        let found = kms.describe_key().key_id(name).send().await?.key_metadata.ok_or("no metadata")?;
        assert_eq!(found, made, "{name}");
    }
    assert_eq!(made.description(), Some("töst \u{2028} \"x\""));
    assert!(made.enabled && made.key_state() == Some(&KeyState::Enabled));
    assert_eq!(made.key_usage(), Some(&KeyUsageType::EncryptDecrypt));
    assert_eq!(made.key_spec(), Some(&KeySpec::SymmetricDefault));
    let tags = kms.list_resource_tags().key_id(&made.key_id).send().await?;
    assert_eq!(tags.tags().first().map(Tag::tag_key), Some("made by"));
    Ok(made.key_id)
}

async fn encrypts_and_decrypts(kms: &Client, key: &str) -> Tried {
    let plaintext = Blob::new(vec![7; 4096]);
    let encrypted = kms.encrypt().key_id("alias/sdk-rust").plaintext(plaintext.clone());
    let encrypted = encrypted.encryption_context("app", "payroll").send().await?;
    let ciphertext = encrypted.ciphertext_blob.ok_or("no ciphertext")?;
    let decrypt = kms.decrypt().ciphertext_blob(ciphertext.clone());
    let decrypted = decrypt.clone().encryption_context("app", "payroll").send().await?;
    assert_eq!(decrypted.plaintext(), Some(&plaintext));
    assert!(decrypted.key_id().is_some_and(|arn| arn.ends_with(key)));
    let refused =
        decrypt.encryption_context("app", "other").send().await.map_err(|error| error.into_service_error());
    assert!(matches!(refused, Err(DecryptError::InvalidCiphertextException(_))), "{refused:?}");
    let moved = kms.re_encrypt().ciphertext_blob(ciphertext).source_encryption_context("app", "payroll");
    let moved = moved.destination_key_id("alias/default").send().await?;
    let again = kms.decrypt().ciphertext_blob(moved.ciphertext_blob.ok_or("no ciphertext")?).send().await?;
    assert_eq!(again.plaintext(), Some(&plaintext));
    Ok(())
}

async fn makes_data_keys(kms: &Client, key: &str) -> Tried {
    let made = kms.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256).send().await?;
    let plaintext = made.plaintext().ok_or("no plaintext")?;
    assert_eq!(plaintext.as_ref().len(), 32);
    let opened =
        kms.decrypt().ciphertext_blob(made.ciphertext_blob().ok_or("no ciphertext")?.clone()).send().await?;
    assert_eq!(opened.plaintext(), Some(plaintext));
    let hidden = kms.generate_data_key_without_plaintext().key_id(key).number_of_bytes(64).send().await?;
    let opened = kms.decrypt().ciphertext_blob(hidden.ciphertext_blob.ok_or("no ciphertext")?).send().await?;
    assert_eq!(opened.plaintext().map(|data| data.as_ref().len()), Some(64));
    assert_eq!(
        kms.generate_random().number_of_bytes(9).send().await?.plaintext().map(|data| data.as_ref().len()),
        Some(9)
    );
    Ok(())
}

async fn rotates(kms: &Client, key: &str) -> Tried {
    let before = kms.encrypt().key_id(key).plaintext(Blob::new("before")).send().await?;
    kms.enable_key_rotation().key_id(key).rotation_period_in_days(180).send().await?;
    let status = kms.get_key_rotation_status().key_id(key).send().await?;
    assert_eq!((status.key_rotation_enabled, status.rotation_period_in_days), (true, Some(180)));
    assert!(status.next_rotation_date().is_some());
    kms.rotate_key_on_demand().key_id(key).send().await?;
    let rotations = kms
        .list_key_rotations()
        .key_id(key)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await?;
    let kinds: Vec<_> = rotations.iter().filter_map(|rotation| rotation.rotation_type()).collect();
    assert_eq!(kinds, [&RotationType::OnDemand]);
    let after = kms.decrypt().ciphertext_blob(before.ciphertext_blob.ok_or("no ciphertext")?).send().await?;
    assert_eq!(after.plaintext(), Some(&Blob::new("before")));
    Ok(())
}

async fn pages(kms: &Client) -> Tried {
    for n in 0..MANY {
        let made = kms.create_key().send().await?.key_metadata.ok_or("no metadata")?;
        kms.create_alias().alias_name(format!("alias/pages-{n}")).target_key_id(made.key_id).send().await?;
    }
    let keys =
        kms.list_keys().into_paginator().page_size(2).items().send().collect::<Result<Vec<_>, _>>().await?;
    let ids: HashSet<_> = keys.iter().filter_map(|key| key.key_id()).collect();
    assert!(ids.len() > MANY && ids.len() == keys.len(), "{} of {}", ids.len(), keys.len());
    let aliases = kms
        .list_aliases()
        .into_paginator()
        .page_size(3)
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await?;
    let ours = aliases
        .iter()
        .filter(|alias| alias.alias_name().is_some_and(|name| name.starts_with("alias/pages-")));
    assert_eq!(ours.count(), MANY);
    Ok(())
}

async fn refusals_have_types(kms: &Client, key: &str) -> Tried {
    let gone = "00000000-1111-2222-3333-444444444444";
    let missing = kms.describe_key().key_id(gone).send().await.map_err(|error| error.into_service_error());
    let Err(error @ DescribeKeyError::NotFoundException(_)) = missing else {
        return Err(format!("{missing:?}").into());
    };
    assert!(error.message().is_some_and(|message| message.contains(gone)), "{error:?}");
    let taken = kms.create_alias().alias_name("alias/sdk-rust").target_key_id(key).send().await;
    let taken = taken.map_err(|error| error.into_service_error());
    assert!(matches!(taken, Err(CreateAliasError::AlreadyExistsException(_))), "{taken:?}");
    kms.disable_key().key_id(key).send().await?;
    let disabled = kms.encrypt().key_id(key).plaintext(Blob::new("x")).send().await;
    let disabled = disabled.map_err(|error| error.into_service_error());
    assert!(matches!(disabled, Err(EncryptError::DisabledException(_))), "{disabled:?}");
    kms.enable_key().key_id(key).send().await?;
    // There are no grants. The code says so where the SDK has no type for it.
    let grant = kms.list_grants().key_id(key).send().await.map_err(|error| error.into_service_error());
    assert_eq!(
        grant.err().and_then(|error| error.code().map(str::to_owned)).as_deref(),
        Some("UnsupportedOperationException")
    );
    Ok(())
}

async fn deletes(kms: &Client) -> Tried {
    let key = kms.create_key().send().await?.key_metadata.ok_or("no metadata")?.key_id;
    let scheduled = kms.schedule_key_deletion().key_id(&key).pending_window_in_days(7).send().await?;
    assert_eq!(scheduled.key_state(), Some(&KeyState::PendingDeletion));
    kms.cancel_key_deletion().key_id(&key).send().await?;
    Ok(())
}
