//! Migrations: numbered SQL files, one statement each, applied in order and recorded with their checksum.
//!
//! Two processes may migrate at once: every statement does nothing where its work is done, and is recorded only after
//! it succeeded, so that both arrive at the same tables and the same records.

use clickhouse::{Client, Row};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::connection::{Attempt, connect_server, statement_timeout};
use super::error::{StoreError, exception_code};
use crate::config::ClickHouseConfig;

/// One file of `schemas/clickhouse`.
#[derive(Clone, Copy, Debug)]
struct Migration {
    number: u32,
    name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal),+ $(,)?) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!("../../schemas/clickhouse/", $name, ".sql")),
        }),+]
    };
}

const MIGRATIONS: &[Migration] = migrations![
    1 "0001_messages",
    2 "0002_receipts",
    3 "0003_recalls",
    4 "0004_roster_changes",
    5 "0005_marks",
    6 "0006_parked",
    7 "0007_settlements",
    8 "0008_policies",
    9 "0009_rejections",
    10 "0010_ledger",
    11 "0011_message_counts",
    12 "0012_sender_counts",
    13 "0013_dropped",
    14 "0014_messages_by_user",
    15 "0015_receipts_by_reader",
    16 "0016_roster_changes_by_user",
    17 "0017_marks_by_reader",
    18 "0018_receipts_blocks",
    19 "0019_messages_erasures",
    20 "0020_receipts_erasures",
    21 "0021_recalls_erasures",
    22 "0022_policies_inserted_at",
    23 "0023_erasure_sweeps",
    24 "0024_messages_blocks",
    25 "0025_message_facts",
    26 "0026_message_facts_of_messages",
    27 "0027_message_facts_of_receipts",
    28 "0028_message_facts_of_recalls",
    29 "0029_receipts_merges",
    30 "0030_messages_merges",
    31 "0031_recalls_merges",
    32 "0032_message_counts_merges",
    33 "0033_sender_counts_merges",
    34 "0034_marks_merges",
    35 "0035_parked_merges",
    36 "0036_settlements_merges",
    37 "0037_rejections_merges",
    38 "0038_message_fact_fields",
    39 "0039_roster_changes_merges",
];

/// The file that creates a table.
#[cfg(test)]
pub(super) fn migration_of(table: super::Table) -> &'static str {
    let start = format!("CREATE TABLE IF NOT EXISTS ${{database}}.{} ", table.name());
    MIGRATIONS.iter().map(|migration| migration.sql).find(|sql| sql.contains(&start)).unwrap_or_default()
}

/// What later files change of a table.
#[cfg(test)]
pub(super) fn changes_of(table: super::Table) -> impl Iterator<Item = &'static str> {
    let start = format!("ALTER TABLE ${{database}}.{} ", table.name());
    MIGRATIONS.iter().map(|migration| migration.sql).filter(move |sql| sql.contains(&start))
}

/// Where applied migrations are recorded; it stands before the first of them.
const CREATE_DATABASE: &str = "CREATE DATABASE IF NOT EXISTS ${database} ${on_cluster}";
const CREATE_RECORDS: &str = "\
CREATE TABLE IF NOT EXISTS ${database}.schema_migrations ${on_cluster}
(
    number     UInt32,
    name       String,
    checksum   String, -- SHA-256 of the file, in hexadecimal
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (number, checksum)
";

/// How often a statement is repeated that met another process creating the same thing.
const COLLISIONS: u32 = 5;

/// A statement that copies rows of whole tables may take so many times as long as another one.
const COPYING_TIMEOUTS: u32 = 120;

/// Code of "table already exists", which `IF NOT EXISTS` still answers where two processes create at once.
const TABLE_ALREADY_EXISTS: u32 = 57;
/// The same of databases.
const DATABASE_ALREADY_EXISTS: u32 = 82;
/// Code of "metadata on replica is not up to date", where two processes alter a replicated table at once.
const CANNOT_ASSIGN_ALTER: u32 = 517;
/// Codes of "no such table" and "no such database": nothing was migrated yet.
const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;

impl Migration {
    fn checksum(self) -> String {
        hex::encode(Sha256::digest(self.sql))
    }
}

/// Whether a statement copies rows.
fn is_copy(sql: &str) -> bool {
    sql.lines().any(|line| line.starts_with("INSERT INTO"))
}

/// A row of `schema_migrations`.
#[derive(Debug, Row, Deserialize)]
struct AppliedMigration {
    number: u32,
    checksum: String,
}

/// Creates what is missing. Does nothing where the schema is current.
///
/// Returns the names of the migrations applied by this call.
///
/// # Errors
/// [`StoreError::SchemaNewer`] and [`StoreError::SchemaDiffers`] before anything is changed; else what ClickHouse said.
pub async fn migrate(config: &ClickHouseConfig) -> Result<Vec<&'static str>, StoreError> {
    let server = connect_server(config);
    create(config, &server, CREATE_DATABASE, "database").await?;
    create(config, &server, CREATE_RECORDS, "schema_migrations").await?;
    let client = super::connect(config);
    let applied = applied_migrations(config, &client).await?;
    refuse_unknown(&applied)?;

    let mut applied_now = Vec::new();
    for migration in missing(&applied) {
        // Copies read and write rows, with what a cluster asks for that.
        let through = if is_copy(migration.sql) { &client } else { &server };
        create(config, through, migration.sql, migration.name).await?;
        let attempt = attempt(config, "recording migration", migration.name);
        let record = client
            .query("INSERT INTO schema_migrations (number, name, checksum) VALUES (?, ?, ?)")
            .bind(migration.number)
            .bind(migration.name)
            .bind(migration.checksum());
        attempt.bounded(record.execute()).await?;
        applied_now.push(migration.name);
    }
    Ok(applied_now)
}

/// Whether the tables are those that this binary was made for: what readiness asks.
///
/// # Errors
/// [`StoreError::SchemaOlder`], [`StoreError::SchemaNewer`], [`StoreError::SchemaDiffers`], or what ClickHouse said.
pub async fn check_schema(config: &ClickHouseConfig, client: &Client) -> Result<(), StoreError> {
    let applied = match applied_migrations(config, client).await {
        Err(StoreError::Rejected { reason, .. })
            if matches!(exception_code(&reason), Some(UNKNOWN_TABLE | UNKNOWN_DATABASE)) =>
        {
            Vec::new()
        }
        applied => applied?,
    };
    refuse_unknown(&applied)?;
    match missing(&applied).next() {
        Some(migration) => Err(StoreError::SchemaOlder { missing: migration.number }),
        None => Ok(()),
    }
}

/// Every statement that [`migrate`] runs on an empty server, for those who apply them by hand.
pub fn schema_script(config: &ClickHouseConfig) -> String {
    let files = MIGRATIONS.iter().map(|migration| migration.sql);
    let mut script = String::new();
    for template in [CREATE_DATABASE, CREATE_RECORDS].into_iter().chain(files) {
        script.push_str(fill(template, config).trim_end());
        script.push_str(";\n\n");
    }
    for migration in MIGRATIONS {
        let Migration { number, name, .. } = migration;
        let checksum = migration.checksum();
        let table = fill("${database}.schema_migrations", config);
        script.push_str(&format!(
            "INSERT INTO {table} (number, name, checksum) VALUES ({number}, '{name}', '{checksum}');\n"
        ));
    }
    script
}

/// Runs a statement that creates or alters something, again where another process was doing it at the same moment.
async fn create(config: &ClickHouseConfig, client: &Client, template: &str, target: &str) -> Result<(), StoreError> {
    let statement = fill(template, config);
    let mut attempt = attempt(config, "creating", target);
    if is_copy(template) {
        attempt.timeout *= COPYING_TIMEOUTS;
    }
    let mut collisions = 0;
    loop {
        match attempt.bounded(client.query_raw(&statement).execute()).await {
            Err(StoreError::Rejected { reason, .. })
                if collisions < COLLISIONS
                    && matches!(
                        exception_code(&reason),
                        Some(TABLE_ALREADY_EXISTS | DATABASE_ALREADY_EXISTS | CANNOT_ASSIGN_ALTER)
                    ) =>
            {
                collisions += 1;
            }
            result => return result,
        }
    }
}

async fn applied_migrations(config: &ClickHouseConfig, client: &Client) -> Result<Vec<AppliedMigration>, StoreError> {
    let query = client.query("SELECT DISTINCT number, checksum FROM schema_migrations ORDER BY number");
    attempt(config, "reading", "schema_migrations").bounded(query.fetch_all()).await
}

fn refuse_unknown(applied: &[AppliedMigration]) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |migration| migration.number);
    for row in applied {
        match MIGRATIONS.iter().find(|migration| migration.number == row.number) {
            None => return Err(StoreError::SchemaNewer { found: row.number, known }),
            Some(migration) if migration.checksum() != row.checksum => {
                return Err(StoreError::SchemaDiffers { number: row.number });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn missing(applied: &[AppliedMigration]) -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| !applied.iter().any(|row| row.number == migration.number))
}

/// Names and engines are no values and cannot be bound; `config` admits letters, digits and `_` in both names.
fn fill(template: &str, config: &ClickHouseConfig) -> String {
    let (on_cluster, replicated) = if config.cluster.is_empty() {
        (String::new(), "")
    } else {
        (format!(" ON CLUSTER `{}`", config.cluster), "Replicated")
    };
    template
        .replace("${database}", &format!("`{}`", config.database))
        .replace(" ${on_cluster}", &on_cluster)
        .replace("${replicated}", replicated)
}

fn attempt<'a>(config: &ClickHouseConfig, doing: &'static str, target: &'a str) -> Attempt<'a> {
    Attempt { doing, target, timeout: statement_timeout(config) }
}

#[cfg(test)]
mod tests {
    use super::{AppliedMigration, MIGRATIONS, StoreError, fill, missing, refuse_unknown, schema_script};
    use crate::config::ClickHouseConfig;
    use crate::store::Table;

    fn applied(number: u32, checksum: &str) -> AppliedMigration {
        AppliedMigration { number, checksum: checksum.to_owned() }
    }

    #[test]
    fn numbers_ascend_without_gaps_and_match_the_file_names() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.number as usize, index + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.number)), "{}", migration.name);
        }
    }

    #[test]
    fn every_table_that_rows_are_written_to_has_a_migration() {
        for table in Table::ALL {
            let start = format!("CREATE TABLE IF NOT EXISTS ${{database}}.{} ", table.name());
            assert_eq!(MIGRATIONS.iter().filter(|migration| migration.sql.contains(&start)).count(), 1, "{table:?}");
        }
    }

    #[test]
    fn a_single_server_gets_plain_engines_and_a_cluster_replicated_ones() {
        let single = ClickHouseConfig::default();
        let script = schema_script(&single);
        assert!(script.contains("CREATE TABLE IF NOT EXISTS `seenby`.messages\n"), "{script}");
        assert!(!script.contains("ON CLUSTER") && !script.contains("Replicated") && !script.contains("${"));

        let clustered = ClickHouseConfig { cluster: "main".to_owned(), ..single };
        let script = schema_script(&clustered);
        assert!(script.contains("CREATE TABLE IF NOT EXISTS `seenby`.messages ON CLUSTER `main`\n"), "{script}");
        assert!(script.contains("ENGINE = ReplicatedReplacingMergeTree(version)"));
        assert!(!script.contains("${"));
        assert_eq!(fill("x", &clustered), "x");
    }

    #[test]
    fn a_schema_of_a_later_version_is_refused() {
        let first = MIGRATIONS[0].checksum();
        let refused = refuse_unknown(&[applied(1, &first), applied(9999, "")]);
        assert!(matches!(refused, Err(StoreError::SchemaNewer { found: 9999, .. })), "{refused:?}");
    }

    #[test]
    fn another_text_of_an_applied_migration_is_refused() {
        let refused = refuse_unknown(&[applied(1, "0123")]);
        assert!(matches!(refused, Err(StoreError::SchemaDiffers { number: 1 })), "{refused:?}");
    }

    #[test]
    fn what_is_missing_is_applied_in_order() {
        let rest: Vec<u32> = missing(&[applied(2, ""), applied(1, "")]).map(|migration| migration.number).collect();
        assert_eq!(rest, (3..=MIGRATIONS.len() as u32).collect::<Vec<_>>());
    }
}
