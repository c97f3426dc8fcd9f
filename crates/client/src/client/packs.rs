//! Installing, planning and removing packs.

use reqwest::Method;

use super::{Client, ClientError, Result, segment};
use crate::types::{PackConfigChange, PackConfigView, PackInstalled, PackPlans, PacksRemoved};

/// How a pack is installed.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstallWishes<'a> {
    /// Where it came from; None for a bundle, which says so itself.
    pub source: Option<&'a str>,
    /// `keep` or `overwrite`: what becomes of what was changed on the server where the pack has changed the same.
    pub edits: Option<&'a str>,
}

impl Client {
    /// Installs or upgrades a pack from a gzipped tar archive of its directory. `source` says where it came from.
    pub async fn install_pack(&self, archive: Vec<u8>, source: &str) -> Result<PackInstalled> {
        self.install_packs(archive, InstallWishes { source: Some(source), edits: None }).await
    }

    /// Installs what an archive holds: a pack, or a bundle of several.
    pub async fn install_packs(&self, archive: Vec<u8>, wishes: InstallWishes<'_>) -> Result<PackInstalled> {
        let request = self
            .request(Method::POST, "api/v1/packs")
            .query(&query(wishes))
            .header("content-type", "application/gzip")
            .body(archive);
        self.read(request).await
    }

    /// What installing an archive would do.
    pub async fn plan_packs(&self, archive: Vec<u8>, edits: Option<&str>) -> Result<PackPlans> {
        let request = self
            .request(Method::POST, "api/v1/packs/plan")
            .query(&query(InstallWishes { source: None, edits }))
            .header("content-type", "application/gzip")
            .body(archive);
        self.read(request).await
    }

    /// The files of a pack as a gzipped tar archive; with edits, its rules are as they are now.
    pub async fn export_pack(&self, pack_ref: &str, with_edits: bool) -> Result<Vec<u8>> {
        let request = self.request(Method::GET, &format!("api/v1/packs/{}/files", segment(pack_ref)));
        let request = if with_edits { request.query(&[("edits", "true")]) } else { request };
        let response = self.send(request).await?;
        let url = response.url().to_string();
        let content = response.bytes().await.map_err(|source| ClientError::Malformed { url, source })?;
        Ok(content.to_vec())
    }

    /// The settings of a pack.
    pub async fn pack_config(&self, pack_ref: &str) -> Result<PackConfigView> {
        self.get(&format!("api/v1/packs/{}/config", segment(pack_ref)), &[]).await
    }

    /// Changes settings of a pack.
    pub async fn change_pack_config(
        &self,
        pack_ref: &str,
        change: &PackConfigChange,
    ) -> Result<PackConfigView> {
        self.send_json(Method::PATCH, &format!("api/v1/packs/{}/config", segment(pack_ref)), change).await
    }

    /// Removes a pack that nothing uses.
    pub async fn remove_pack(&self, pack_ref: &str) -> Result<PacksRemoved> {
        self.remove_packs(pack_ref, None).await
    }

    /// Removes a pack; `uses` is `leave` or `cascade`: what becomes of what uses it.
    pub async fn remove_packs(&self, pack_ref: &str, uses: Option<&str>) -> Result<PacksRemoved> {
        let request = self.request(Method::DELETE, &format!("api/v1/packs/{}", segment(pack_ref)));
        let query: Vec<(&str, &str)> = uses.into_iter().map(|uses| ("uses", uses)).collect();
        self.read(request.query(&query)).await
    }
}

fn query(wishes: InstallWishes<'_>) -> Vec<(&'static str, &str)> {
    let InstallWishes { source, edits } = wishes;
    source.map(|source| ("source", source)).into_iter().chain(edits.map(|edits| ("edits", edits))).collect()
}
