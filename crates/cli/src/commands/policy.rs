//! `attune policy`.

use attune_client::Client;
use attune_client::types::PolicyView;
use clap::Subcommand;

use crate::exit::Exit;
use crate::lookup::found;
use crate::output::{Columns, Details, list, moment, or_dash, show, yes_no};
use crate::paging::{OptionalLimit, is_met, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// List the policies, with how much runs and waits under each
    #[command(visible_alias = "ls")]
    List {
        /// Only of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
        /// Only those that limit this action by itself
        #[arg(long, value_name = "REF")]
        action: Option<String>,
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a policy
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the policy
        #[arg(value_name = "REF")]
        policy_ref: String,
    },
}

pub(crate) async fn run(command: PolicyCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        PolicyCommand::List { pack, action, limit } => {
            let policies = select(session.client.policies().await?, limit, |policy| {
                is_met(pack.as_ref(), policy.pack.as_deref().unwrap_or_default())
                    && is_met(action.as_ref(), policy.action.as_deref().unwrap_or_default())
            });
            let columns = Columns {
                noun: "policies",
                header: &["REF", "ENABLED", "LIMITS", "TO", "MORE", "RUNNING", "WAITING"],
                row: &|policy: &PolicyView| {
                    vec![
                        policy.policy_ref.clone(),
                        yes_no(policy.enabled),
                        scope(policy),
                        limits(policy),
                        policy.method.clone(),
                        policy.running.to_string(),
                        policy.waiting.to_string(),
                    ]
                },
                name: &|policy| policy.policy_ref.clone(),
            };
            list(session.format, &policies, &columns)?;
        }
        PolicyCommand::Show { policy_ref } => {
            let policy = find(&session.client, &policy_ref).await?;
            show(session.format, &policy, &policy.policy_ref, || details(&session, &policy))?;
        }
    }
    Ok(Exit::Ok)
}

async fn find(client: &Client, policy_ref: &str) -> anyhow::Result<PolicyView> {
    let known = async {
        let page = client.policies().await?;
        Ok(page.items.into_iter().map(|policy| policy.policy_ref).collect())
    };
    found("policy", policy_ref, client.policy(policy_ref).await, known).await
}

fn scope(policy: &PolicyView) -> String {
    match (&policy.action, &policy.pack) {
        (Some(action), _) => action.clone(),
        (None, pack) => format!("pack {}", or_dash(pack.as_ref())),
    }
}

/// The limits, as `2 at once by host, 10 starts in 60 s`.
fn limits(policy: &PolicyView) -> String {
    let concurrency = policy.concurrency.map(|concurrency| match policy.parameters.as_slice() {
        [] => format!("{concurrency} at once"),
        parameters => format!("{concurrency} at once by {}", parameters.join(" and ")),
    });
    let rate = policy.rate_count.zip(policy.rate_seconds);
    let rate = rate.map(|(count, seconds)| format!("{count} starts in {seconds} s"));
    concurrency.into_iter().chain(rate).collect::<Vec<_>>().join(", ")
}

fn details(session: &Session, policy: &PolicyView) -> Details {
    Details::new()
        .field("ref", &policy.policy_ref)
        .optional("pack", policy.pack.as_ref())
        .field("enabled", yes_no(policy.enabled))
        .field("limits", scope(policy))
        .field("to", limits(policy))
        .field("what is more", &policy.method)
        .field("running", policy.running)
        .field("waiting", policy.waiting)
        .field("created", moment(session.now(), policy.created))
        .field("updated", moment(session.now(), policy.updated))
}
