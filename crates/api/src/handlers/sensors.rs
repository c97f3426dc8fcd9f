//! Sensors.

use attune_client::types::{Page, SensorView, Switch};
use attune_common::models::identity::Subject;
use attune_common::models::sensor::SensorUpdate;
use attune_common::repositories::SensorRepository;
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Body};
use crate::paging::whole;
use crate::responses::{Guarded, OfOne, Uploading};
use crate::state::AppState;
use crate::views::sensor_view;

/// All sensors, by ref, each with what keeps it from running.
#[utoipa::path(
    get,
    path = "/api/v1/sensors",
    tag = "sensors",
    operation_id = "list_sensors",
    responses((status = OK, body = Page<SensorView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<SensorView>>, ApiError> {
    let scope = caller.require_some("sensor", "read")?;
    let mut sensors = SensorRepository::list(&state.pool).await?;
    sensors.retain(|sensor| scope.holds(&Subject::of(&sensor.r#ref)));
    Ok(Json(whole(sensors.into_iter().map(sensor_view).collect())))
}

/// One sensor.
#[utoipa::path(
    get,
    path = "/api/v1/sensors/{ref}",
    tag = "sensors",
    operation_id = "show_sensor",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = SensorView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(sensor_ref): At<String>,
) -> Result<Json<SensorView>, ApiError> {
    caller.require_for("sensor", "read", &Subject::of(&sensor_ref))?;
    Ok(Json(sensor_view(SensorRepository::get_by_ref(&state.pool, &sensor_ref).await?)))
}

/// Enables a sensor, or disables it: its process is ended, and none is started. It stays so when another version of its pack is
/// installed.
#[utoipa::path(
    patch,
    path = "/api/v1/sensors/{ref}",
    tag = "sensors",
    operation_id = "switch_sensor",
    params(("ref" = String, Path, description = "`pack.name`")),
    request_body = Switch,
    responses((status = OK, body = SensorView), Uploading)
)]
pub(crate) async fn switch(
    State(state): State<AppState>,
    caller: Caller,
    At(sensor_ref): At<String>,
    body: Result<Body<Switch>, ApiError>,
) -> Result<Json<SensorView>, ApiError> {
    caller.require_for("sensor", "update", &Subject::of(&sensor_ref))?;
    let Body(Switch { enabled }) = body?;
    let mut connection = state.pool.acquire().await?;
    let sensor = SensorRepository::get_by_ref(&mut *connection, &sensor_ref).await?;
    let update = SensorUpdate { enabled: Some(enabled), ..SensorUpdate::default() };
    let sensor = SensorRepository::update(&mut connection, sensor.id, &update).await?;
    drop(connection);
    state.definitions_changed().await;
    Ok(Json(sensor_view(sensor)))
}
