//! What processes wrote. Writes `attune.execution_output`.

use sqlx::PgExecutor;

use crate::error::Result;
use crate::models::execution::{OutputChunk, OutputStream, OutputTrim, StoredChunk};

/// Functions about `attune.execution_output`.
#[derive(Debug)]
pub struct ExecutionOutputRepository;

impl ExecutionOutputRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.execution_output"
    }

    /// Stores chunks; one that is stored already is left as it is, so that a doubtful commit may be repeated. Chunks of
    /// an execution that was deleted are dropped.
    pub async fn append(executor: impl PgExecutor<'_>, chunks: &[OutputChunk]) -> Result<()> {
        sqlx::query(
            "insert into attune.execution_output (execution, attempt, seq, stream, content)
             select chunk.*
             from unnest($1::bigint[], $2::integer[], $3::integer[], $4::attune.output_stream[], $5::bytea[]) as chunk
                 (execution, attempt, seq, stream, content)
             where exists (select from attune.execution where execution.id = chunk.execution)
             on conflict on constraint execution_output_pkey do nothing",
        )
        .bind(chunks.iter().map(|c| c.execution).collect::<Vec<_>>())
        .bind(chunks.iter().map(|c| c.attempt).collect::<Vec<_>>())
        .bind(chunks.iter().map(|c| c.seq).collect::<Vec<_>>())
        .bind(chunks.iter().map(|c| c.stream).collect::<Vec<_>>())
        .bind(chunks.iter().map(|c| c.content.as_slice()).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(())
    }

    /// Removes chunks, keeps only the end of another, and says in a third what is missing. Done again, it changes nothing.
    pub async fn trim(executor: impl PgExecutor<'_>, trim: &OutputTrim) -> Result<()> {
        let (cut, kept) = trim.cut.unzip();
        sqlx::query(
            "with removed as (
                 delete from attune.execution_output
                 where execution = $1 and attempt = $2 and seq = any($3)
             )
             update attune.execution_output chunk
             set content = case
                 when chunk.seq = $4 then $5
                 else substring(chunk.content from greatest(octet_length(chunk.content) - $7, 0) + 1)
             end
             where execution = $1 and attempt = $2 and seq in ($4, $6)",
        )
        .bind(trim.execution)
        .bind(trim.attempt)
        .bind(&trim.removed)
        .bind(trim.marker)
        .bind(&trim.content)
        .bind(cut)
        .bind(kept.map(|kept| i32::try_from(kept).unwrap_or(i32::MAX)))
        .execute(executor)
        .await?;
        Ok(())
    }

    /// Up to `limit` chunks of an attempt from `seq` on, in the order of their arrival.
    pub async fn list(
        executor: impl PgExecutor<'_>,
        execution: i64,
        attempt: i32,
        seq: i32,
        limit: i64,
    ) -> Result<Vec<StoredChunk>> {
        let rows = sqlx::query_as(
            "select execution, attempt, seq, stream, content, created
             from attune.execution_output
             where execution = $1 and attempt = $2 and seq >= $3
             order by seq
             limit $4",
        )
        .bind(execution)
        .bind(attempt)
        .bind(seq)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The first chunks of one stream of an attempt, as many as begin within its first `bytes` bytes.
    pub async fn head(
        executor: impl PgExecutor<'_>,
        execution: i64,
        attempt: i32,
        stream: OutputStream,
        bytes: i64,
    ) -> Result<Vec<OutputChunk>> {
        let rows = sqlx::query_as(
            "select execution, attempt, seq, stream, content
             from (
                 select *, sum(octet_length(content)) over (order by seq) - octet_length(content) as begins
                 from attune.execution_output
                 where execution = $1 and attempt = $2 and stream = $3
             ) chunk
             where begins < $4
             order by seq",
        )
        .bind(execution)
        .bind(attempt)
        .bind(stream)
        .bind(bytes)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
