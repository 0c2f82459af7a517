//! `--role-base-arn-autodetect`: the partition and account of the node that the server runs on, from the instance
//! metadata service. Asked once, at the start.

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;
use serde::Deserialize;

use super::resolver::BaseArn;
use crate::sts::aws::http_client;

const IAM_INFO: &str = "/latest/meta-data/iam/info";

/// Why there is no base ARN.
#[derive(Debug, thiserror::Error)]
#[error("--role-base-arn-autodetect: {0}; give --role-base-arn instead")]
pub struct AutodetectError(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IamInfo {
    instance_profile_arn: String,
}

/// Asks the instance metadata service (`AWS_EC2_METADATA_SERVICE_ENDPOINT`, if that is set).
pub async fn base_arn() -> Result<BaseArn, AutodetectError> {
    let config = ProviderConfig::without_region().with_http_client(http_client());
    detect(&Client::builder().configure(&config).build()).await
}

async fn detect(instance_metadata: &Client) -> Result<BaseArn, AutodetectError> {
    let info = instance_metadata.get(IAM_INFO).await;
    let info =
        info.map_err(|error| AutodetectError(format!("cannot read {IAM_INFO} from instance metadata: {error}")))?;
    from_iam_info(info.as_ref())
}

fn from_iam_info(json: &str) -> Result<BaseArn, AutodetectError> {
    let info: IamInfo = serde_json::from_str(json)
        .map_err(|error| AutodetectError(format!("{IAM_INFO} of instance metadata is not as expected: {error}")))?;
    let arn = &info.instance_profile_arn;
    let mut parts = arn.split(':');
    let (partition, account_id) = (parts.nth(1).unwrap_or_default(), parts.nth(2).unwrap_or_default());
    BaseArn::of_account(partition, account_id)
        .map_err(|_| AutodetectError(format!("InstanceProfileArn {arn:?} of instance metadata is not an ARN")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_profile_tells_partition_and_account() {
        let info = r#"{"Code": "Success", "InstanceProfileArn": "arn:aws-cn:iam::123456789012:instance-profile/node",
                       "InstanceProfileId": "AIPAEXAMPLE"}"#;
        let expected: BaseArn = "arn:aws-cn:iam::123456789012:role/".parse().unwrap();
        assert_eq!(from_iam_info(info).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_metadata_service_that_is_not_there_is_an_error_that_names_the_flag() {
        kiam_common::tls::install_crypto_provider();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = ProviderConfig::without_region().with_http_client(http_client());
        let client = Client::builder().configure(&config).endpoint(format!("http://{closed}")).unwrap();
        let error = detect(&client.max_attempts(1).build()).await.unwrap_err().to_string();
        assert!(error.contains("--role-base-arn-autodetect") && error.contains("iam/info"), "{error}");
    }

    #[test]
    fn anything_else_is_an_error_that_names_the_flag() {
        for info in ["", "{}", r#"{"InstanceProfileArn": ""}"#, r#"{"InstanceProfileArn": "a:b:c:d:e:f"}"#] {
            let error = from_iam_info(info).unwrap_err().to_string();
            assert!(error.starts_with("--role-base-arn-autodetect: "), "{error}");
        }
    }
}
