//! Reads pods and namespaces once, in pages, for those who do not go on to watch them.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::Resource;
use kube::{Client, ResourceExt as _};
use tokio::time::timeout;

use super::PAGE_SIZE;
use super::wire::{Kind, Namespaces, Pods, Watched};
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::PodFields;

/// How long the API may take for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(30);

/// All of a cluster.
#[derive(Debug, Default)]
pub struct Listed {
    /// Its pods.
    pub pods: Vec<PodFields>,
    /// Its namespaces.
    pub namespaces: Vec<NamespaceFields>,
    /// What could not be decoded, and why.
    pub skipped: Vec<String>,
}

/// Why a cluster cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The API says no, or cannot be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The API does not answer.
    #[error("the Kubernetes API has not answered within {PAGE_WITHIN:?}")]
    Late,
}

/// Lists all of a cluster.
pub async fn list(client: &Client) -> Result<Listed, ListError> {
    let mut skipped = Vec::new();
    let namespaces = all::<Namespaces>(client, &mut skipped).await?;
    let pods = all::<Pods>(client, &mut skipped).await?;
    Ok(Listed { pods, namespaces, skipped })
}

async fn all<K: Kind>(client: &Client, skipped: &mut Vec<String>) -> Result<Vec<K::Fields>, ListError>
where
    Watched<K>: Resource<DynamicType = ()> + Clone + Debug,
{
    let api = Api::<Watched<K>>::all(client.clone());
    let (mut fields, mut params) = (Vec::new(), ListParams::default().limit(PAGE_SIZE));
    loop {
        let page = timeout(PAGE_WITHIN, api.list(&params)).await.map_err(|_| ListError::Late)??;
        for object in page.items {
            let name = || format!("{} {}/{}", K::KIND, object.namespace().unwrap_or_default(), object.name_any());
            match &object.fields {
                Ok(decoded) => fields.push(decoded.clone()),
                Err(error) => skipped.push(format!("{}: {error}", name())),
            }
        }
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(fields),
        }
    }
}
