//! Questions asked on a schedule, whether or not those before are answered (open loop), or one after the other on some
//! connections (closed loop).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::parts::Parts;
use super::questions::{Question, Questions};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The readers of one message.
    List,
    /// Many messages at once.
    Batch,
}

/// How questions come.
#[derive(Clone, Debug)]
enum Arrivals {
    /// So many a second of each kind.
    Scheduled(Vec<(Kind, f64)>),
    /// The next with the answer to the one before, on so many connections.
    Answered(Kind, usize),
}

/// One run of questions.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) duration: Duration,
    arrivals: Arrivals,
}

/// What became of the questions of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// From when a question was due until all of its answer was there, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Answers with 200.
    pub(crate) answers: u64,
    /// What else came, by its status or error. 410 is an answer as well: the message was taken back.
    pub(crate) others: BTreeMap<String, u64>,
    /// Bytes of all answers.
    pub(crate) bytes: u64,
}

type Results = BTreeMap<Kind, Measured>;

impl Default for Measured {
    fn default() -> Self {
        // A minute at most, with three digits.
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order");
        Self { latency, answers: 0, others: BTreeMap::new(), bytes: 0 }
    }
}

impl Measured {
    fn add(&mut self, latency: Duration, outcome: Result<usize, String>) {
        self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        match outcome {
            Ok(bytes) => {
                self.answers += 1;
                self.bytes += bytes as u64;
            }
            Err(other) => *self.others.entry(other).or_default() += 1,
        }
    }
}

impl Phase {
    pub(super) fn open(name: &'static str, duration: Duration, rates: &[(Kind, f64)]) -> Self {
        Self { name, duration, arrivals: Arrivals::Scheduled(rates.to_vec()) }
    }

    pub(super) fn closed(name: &'static str, duration: Duration, kind: Kind, connections: usize) -> Self {
        Self { name, duration, arrivals: Arrivals::Answered(kind, connections) }
    }

    /// Asks, and waits for the last answer.
    pub(super) fn run(&self, parts: &Parts, questions: &mut Questions) -> Results {
        match &self.arrivals {
            Arrivals::Scheduled(rates) => {
                let mut schedule: Vec<(Duration, Kind)> = rates
                    .iter()
                    .flat_map(|(kind, rate)| due_times(self.duration, *rate).map(|due| (due, *kind)))
                    .collect();
                schedule.sort_unstable();
                ask_on_schedule(parts, questions, &schedule)
            }
            Arrivals::Answered(kind, connections) => ask_in_turn(parts, questions, *kind, *connections, self.duration),
        }
    }
}

/// When questions are due, evenly over a time.
fn due_times(duration: Duration, rate: f64) -> impl Iterator<Item = Duration> {
    let count = (duration.as_secs_f64() * rate) as u32;
    (0..count).map(move |number| Duration::from_secs_f64(f64::from(number) / rate))
}

/// Sends each question when it is due and times its answer from then on: a question that is held up, here or there, has
/// waited.
fn ask_on_schedule(parts: &Parts, questions: &mut Questions, schedule: &[(Duration, Kind)]) -> Results {
    let (sender, results) = mpsc::channel();
    let begun = Instant::now();
    for (due, kind) in schedule {
        let question = questions.next(*kind);
        // Timers of the runtime wake up to a millisecond late.
        thread::sleep((begun + *due).saturating_duration_since(Instant::now()));
        let (due, kind, sender) = (begun + *due, *kind, sender.clone());
        let (client, url) = (parts.client.clone(), parts.api_url.clone());
        parts.runtime.spawn(async move {
            let outcome = question.ask(&client, &url).await;
            // The receiver waits for every sender.
            let _ = sender.send((kind, due.elapsed(), outcome));
        });
    }
    drop(sender);
    let mut measured = Results::new();
    for (kind, latency, outcome) in results {
        measured.entry(kind).or_default().add(latency, outcome);
    }
    measured
}

fn ask_in_turn(
    parts: &Parts,
    questions: &mut Questions,
    kind: Kind,
    connections: usize,
    duration: Duration,
) -> Results {
    let measured = Arc::new(Mutex::new(Measured::default()));
    let begun = Instant::now();
    let questions = &Mutex::new(questions);
    thread::scope(|scope| {
        for _ in 0..connections {
            let measured = Arc::clone(&measured);
            scope.spawn(move || {
                while begun.elapsed() < duration {
                    let question = questions.lock().expect("nobody panics").next(kind);
                    let asked = Instant::now();
                    let outcome = parts.runtime.block_on(question.ask(&parts.client, &parts.api_url));
                    measured.lock().expect("nobody panics").add(asked.elapsed(), outcome);
                }
            });
        }
    });
    let measured = measured.lock().expect("nobody panics").clone();
    Results::from([(kind, measured)])
}

impl Questions {
    fn next(&mut self, kind: Kind) -> Question {
        match kind {
            Kind::List => self.list(),
            Kind::Batch => self.batch(),
        }
    }
}

impl Question {
    /// The length of the answer, or what came instead of one.
    async fn ask(&self, client: &reqwest::Client, url: &str) -> Result<usize, String> {
        let url = format!("{url}{}", self.path);
        let request = match &self.body {
            Some(body) => client.post(url).json(body),
            None => client.get(url),
        };
        let request = request.bearer_auth(&self.token).timeout(Duration::from_secs(60));
        let response = request.send().await.map_err(|error| kind_of_error(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| kind_of_error(&error))?;
        if status.is_success() { Ok(body.len()) } else { Err(status.as_str().to_owned()) }
    }
}

fn kind_of_error(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "time-out"
    } else if error.is_connect() {
        "not connected"
    } else {
        "broken off"
    };
    kind.to_owned()
}
