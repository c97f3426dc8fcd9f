//! `attune sensor`.

use attune_client::types::{SensorView, Switch};
use attune_client::{Client, ClientError};
use clap::Subcommand;

use crate::commands::action::may;
use crate::exit::Exit;
use crate::lookup::found;
use crate::output::{Columns, Details, confirm, list, moment, or_dash, show, yes_no};
use crate::paging::{OptionalLimit, is_met, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum SensorCommand {
    /// List the sensors, each with what keeps it from running
    #[command(visible_alias = "ls")]
    List {
        /// Only of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a sensor with the triggers that it may report
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the sensor
        #[arg(value_name = "REF")]
        sensor_ref: String,
    },
    /// Start a sensor again
    Enable {
        /// Ref of the sensor
        #[arg(value_name = "REF")]
        sensor_ref: String,
    },
    /// Stop a sensor until it is enabled
    Disable {
        /// Ref of the sensor
        #[arg(value_name = "REF")]
        sensor_ref: String,
    },
}

pub(crate) async fn run(command: SensorCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        SensorCommand::List { pack, limit } => {
            let sensors = select(session.client.sensors().await?, limit, |sensor| {
                is_met(pack.as_ref(), sensor.pack.as_deref().unwrap_or_default())
            });
            let columns = Columns {
                noun: "sensors",
                header: &["REF", "ENABLED", "TRIGGERS", "IN ITS WAY"],
                row: &|sensor: &SensorView| {
                    vec![
                        sensor.sensor_ref.clone(),
                        yes_no(sensor.enabled),
                        sensor.triggers.join(", "),
                        or_dash(sensor.obstacle.as_ref()),
                    ]
                },
                name: &|sensor| sensor.sensor_ref.clone(),
            };
            list(session.format, &sensors, &columns)?;
        }
        SensorCommand::Show { sensor_ref } => {
            let answer = session.client.sensor(&sensor_ref).await;
            let sensor = found("sensor", &sensor_ref, answer, known(&session.client)).await?;
            show(session.format, &sensor, &sensor.sensor_ref, || details(&session, &sensor))?;
        }
        SensorCommand::Enable { sensor_ref } => switch(&session, &sensor_ref, true).await?,
        SensorCommand::Disable { sensor_ref } => switch(&session, &sensor_ref, false).await?,
    }
    Ok(Exit::Ok)
}

async fn switch(session: &Session, sensor_ref: &str, enabled: bool) -> anyhow::Result<()> {
    let answer = session.client.switch_sensor(sensor_ref, Switch { enabled }).await;
    let sensor = found("sensor", sensor_ref, answer, known(&session.client)).await?;
    let state = if sensor.enabled { "enabled" } else { "disabled" };
    confirm(
        session.format,
        &sensor,
        &sensor.sensor_ref,
        format_args!("sensor {} is {state}", sensor.sensor_ref),
    )
}

async fn known(client: &Client) -> Result<Vec<String>, ClientError> {
    Ok(client.sensors().await?.items.into_iter().map(|sensor| sensor.sensor_ref).collect())
}

fn details(session: &Session, sensor: &SensorView) -> Details {
    Details::new()
        .field("ref", &sensor.sensor_ref)
        .optional("pack", sensor.pack.as_ref())
        .optional("label", sensor.label.as_ref())
        .optional("description", sensor.description.as_ref())
        .field("enabled", yes_no(sensor.enabled))
        .optional("in its way", sensor.obstacle.as_ref())
        .field("runtime", &sensor.runtime)
        .field("entrypoint", &sensor.entrypoint)
        .field("triggers", sensor.triggers.join(", "))
        .optional("may", may(&sensor.permissions))
        .field("created", moment(session.now(), sensor.created))
        .field("updated", moment(session.now(), sensor.updated))
}
