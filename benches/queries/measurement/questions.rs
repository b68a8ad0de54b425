//! Which messages are asked for: half of the questions are about recent messages, half about popular ones.

use clickhouse::Row;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Settings;
use super::parts::{Parts, token_of};

/// Of a hundred items of a batch so many are about groups.
const GROUP_ITEMS: u32 = 80;

#[derive(Row, Deserialize)]
struct MessageRow {
    app: String,
    conversation: String,
    message: String,
    is_group: u8,
    distinct_readers: u32,
}

/// A message to ask for.
#[derive(Clone, Debug)]
struct Target {
    /// Group, or the two users.
    place: String,
    message: String,
}

/// Messages, the newest first.
#[derive(Debug, Default)]
struct Pool {
    targets: Vec<Target>,
    /// The sum of the readers up to and with each.
    readers: Vec<u64>,
}

/// The messages of one app.
#[derive(Debug)]
struct App {
    /// `org/app`, as in paths.
    path: String,
    token: String,
    groups: Pool,
    singles: Pool,
}

/// Makes questions, the same ones from the same seed and store.
#[derive(Debug)]
pub(super) struct Questions {
    random: ChaCha8Rng,
    apps: Vec<App>,
    batch_items: usize,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Path and query.
    pub(super) path: String,
    pub(super) token: String,
    /// What is posted; `None` for a GET.
    pub(super) body: Option<Value>,
}

impl Pool {
    fn push(&mut self, target: Target, readers: u32) {
        self.targets.push(target);
        self.readers.push(self.readers.last().unwrap_or(&0) + u64::from(readers));
    }

    /// A recent message: the logarithm of its rank is even, so that as many are among the last 10 as among the next 90.
    /// Or one by the number of its readers.
    fn choose(&self, random: &mut ChaCha8Rng) -> &Target {
        let readers = self.readers.last().copied().unwrap_or(0);
        let index = if readers == 0 || random.random() {
            (self.targets.len() as f64).powf(random.random::<f64>()) as usize - 1
        } else {
            let reader = random.random_range(0..readers);
            self.readers.partition_point(|sum| *sum <= reader)
        };
        self.targets.get(index).expect("a pool of questions is not empty")
    }
}

impl Questions {
    /// Takes the messages that are in the store now, with receipts.
    pub(super) fn gather(parts: &Parts, settings: &Settings) -> Self {
        let rows: Vec<MessageRow> = parts
            .runtime
            .block_on(parts.tables.query(include_str!("questions.sql")).fetch_all())
            .expect("ClickHouse lists the messages");
        let mut apps: Vec<App> = Vec::new();
        for row in rows {
            let path = row.app.replace('#', "/");
            let index = apps.iter().position(|app| app.path == path).unwrap_or_else(|| {
                apps.push(App { path, token: token_of(&row.app), groups: Pool::default(), singles: Pool::default() });
                apps.len() - 1
            });
            let Some(app) = apps.get_mut(index) else { continue };
            // Behind the app stands `/g/group` or `/u/one/other`.
            let place = row.conversation.get(row.app.len() + 3..).unwrap_or_default().to_owned();
            let pool = if row.is_group == 1 { &mut app.groups } else { &mut app.singles };
            pool.push(Target { place, message: row.message }, row.distinct_readers);
        }
        apps.retain(|app| !app.groups.targets.is_empty() && !app.singles.targets.is_empty());
        assert!(!apps.is_empty(), "the store holds no messages with receipts");
        let random = ChaCha8Rng::seed_from_u64(settings.seed);
        Self { random, apps, batch_items: settings.batch_items }
    }

    /// A reader list.
    pub(super) fn list(&mut self) -> Question {
        let app = Self::choose_app(&self.apps, &mut self.random);
        let Target { place, message } = app.groups.choose(&mut self.random);
        let path = format!("/v1/{}/groups/{place}/messages/{message}/readers", app.path);
        Question { path, token: app.token.clone(), body: None }
    }

    /// A question about many messages at once.
    pub(super) fn batch(&mut self) -> Question {
        let app = Self::choose_app(&self.apps, &mut self.random);
        let random = &mut self.random;
        let item = |_| {
            if random.random_range(0..100) < GROUP_ITEMS {
                let Target { place, message } = app.groups.choose(random);
                json!({"group": place, "message": message})
            } else {
                let Target { place, message } = app.singles.choose(random);
                let users: Vec<&str> = place.split('/').collect();
                json!({"single": users, "message": message})
            }
        };
        let items: Vec<Value> = (0..self.batch_items).map(item).collect();
        let path = format!("/v1/{}/receipts/query", app.path);
        Question { path, token: app.token.clone(), body: Some(json!({"items": items})) }
    }

    /// Each app is asked for as often as the others.
    fn choose_app<'a>(apps: &'a [App], random: &mut ChaCha8Rng) -> &'a App {
        apps.get(random.random_range(0..apps.len())).expect("there are apps")
    }
}
