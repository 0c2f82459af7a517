//! Reads pods and namespaces once, in pages, for those who do not go on to watch them.

use std::fmt::Debug;

use kube::api::{Api, ListParams};
use kube::core::Resource;
use kube::{Client, ResourceExt as _};

use super::PAGE_SIZE;
use super::wire::{Kind, Namespaces, Pods, Watched};
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::PodFields;

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

/// Lists all of a cluster.
pub async fn list(client: &Client) -> Result<Listed, kube::Error> {
    let mut skipped = Vec::new();
    let namespaces = all::<Namespaces>(client, &mut skipped).await?;
    let pods = all::<Pods>(client, &mut skipped).await?;
    Ok(Listed { pods, namespaces, skipped })
}

async fn all<K: Kind>(client: &Client, skipped: &mut Vec<String>) -> Result<Vec<K::Fields>, kube::Error>
where
    Watched<K>: Resource<DynamicType = ()> + Clone + Debug,
{
    let api = Api::<Watched<K>>::all(client.clone());
    let (mut fields, mut params) = (Vec::new(), ListParams::default().limit(PAGE_SIZE));
    loop {
        let page = api.list(&params).await?;
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
