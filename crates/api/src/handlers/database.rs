//! The space that everything takes.

use attune_client::types::{DatabaseSize, KindAge, TableSize};
use attune_common::repositories::SizeRepository;
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::responses::Guarded;
use crate::state::AppState;

/// Where the space of the database is, by table, and how old the oldest row of each kind is that retention removes.
#[utoipa::path(
    get,
    path = "/api/v1/database/size",
    tag = "database",
    operation_id = "show_database_size",
    responses((status = OK, body = DatabaseSize), Guarded)
)]
pub(crate) async fn size(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<DatabaseSize>, ApiError> {
    caller.require("database", "read")?;
    let total_bytes = SizeRepository::total(&state.pool).await?;
    let tables = SizeRepository::tables(&state.pool).await?.into_iter().map(|table| TableSize {
        table: table.name,
        rows: table.rows,
        total_bytes: table.total_bytes,
        index_bytes: table.index_bytes,
    });
    let kinds = SizeRepository::oldest(&state.pool).await?;
    let kinds = kinds.into_iter().map(|age| KindAge { kind: age.kind, oldest: age.oldest });
    Ok(Json(DatabaseSize { total_bytes, tables: tables.collect(), kinds: kinds.collect() }))
}
