//! `attune whoami`.

use attune_client::types::GrantView;

use crate::exit::Exit;
use crate::output::{Details, show, table};
use crate::profile::TokenSource;
use crate::session::Options;

pub(crate) async fn run(options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    let whoami = session.client.whoami().await?;
    show(session.format, &whoami, &whoami.login, || {
        let only = |grant: &GrantView| {
            let limits = &grant.constraints;
            let owner = limits.owner.as_ref().map(|owner| format!("owner {owner}"));
            limits.refs.iter().chain(&limits.packs).cloned().chain(owner).collect::<Vec<_>>().join(", ")
        };
        let row = |grant: &GrantView| vec![grant.resource.clone(), grant.actions.join(", "), only(grant)];
        let grants = whoami.grants.iter().map(row);
        let source = session.target.token.as_ref().map(|(_, source)| match source {
            TokenSource::Environment => "environment",
            TokenSource::Profile => "profile",
        });
        Details::new()
            .field("login", &whoami.login)
            .field("server", session.client.base())
            .optional("profile", session.target.profile.as_ref())
            .optional("token from", source)
            .block("grants", &table(&["RESOURCE", "ACTIONS", "ONLY"], grants))
    })?;
    Ok(Exit::Ok)
}
