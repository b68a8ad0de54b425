//! Questions of several requests in one statement.
//!
//! A statement costs milliseconds before it reads its first row, and one more message in it next to nothing. So few of a
//! kind run at once, and what is asked meanwhile goes together with the next: where ClickHouse is fast nobody waits, and
//! where it is not, statements grow instead of queueing up. A statement belongs to all whom it answers: it ends early once
//! none of them waits any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, join_all};
use prometheus::{Histogram, HistogramOpts, IntGauge};
use tokio::sync::oneshot;

use crate::store::StoreError;

/// How many statements run at once. Two, so that a slow one does not hold up everybody.
const AT_ONCE: usize = 2;

/// A question about more keys has made up for its statement's cost by itself, and nobody is to wait for its rows.
const MOST_KEYS_OF_A_QUESTION: usize = 20;

/// The most keys in one statement.
const MOST_KEYS: usize = 200;

type Values<V> = Result<Vec<V>, StoreError>;

/// Asks for the values of keys, one a key, in their order.
type Statement<K, V> = Box<dyn Fn(Vec<K>) -> BoxFuture<'static, Values<V>> + Send + Sync>;

/// Questions about things by their keys.
pub(super) struct SharedStatements<K, V> {
    shared: Arc<Shared<K, V>>,
}

struct Shared<K, V> {
    statement: Statement<K, V>,
    waiting: Mutex<Waiting<K, V>>,
    /// How many questions wait.
    waiting_count: IntGauge,
    /// How many questions a statement answers.
    sizes: Histogram,
}

struct Waiting<K, V> {
    questions: VecDeque<Question<K, V>>,
    /// How many tasks take questions from here.
    places_taken: usize,
}

struct Question<K, V> {
    keys: Vec<K>,
    answer: oneshot::Sender<Values<V>>,
}

/// Held by one of the tasks that take questions.
struct Place<K, V> {
    shared: Arc<Shared<K, V>>,
    is_given_back: bool,
}

impl<K, V> Drop for Place<K, V> {
    /// Where a statement panicked.
    fn drop(&mut self) {
        if !self.is_given_back {
            self.shared.waiting().places_taken -= 1;
        }
    }
}

impl<K, V> std::fmt::Debug for SharedStatements<K, V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SharedStatements").finish_non_exhaustive()
    }
}

/// The histogram that shared statements fill.
pub(super) fn sizes() -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(
        HistogramOpts::new("seenby_api_questions_per_statement", "Requests that a statement about messages was for.")
            .buckets(prometheus::exponential_buckets(1.0, 2.0, 8)?),
    )
}

impl<K: Clone + Send + 'static, V: Send + 'static> SharedStatements<K, V> {
    /// `waiting` counts the questions that wait, beside whatever else waits.
    pub(super) fn new(
        waiting: &IntGauge,
        sizes: &Histogram,
        statement: impl Fn(Vec<K>) -> BoxFuture<'static, Values<V>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            statement: Box::new(statement),
            waiting: Mutex::new(Waiting { questions: VecDeque::new(), places_taken: 0 }),
            waiting_count: waiting.clone(),
            sizes: sizes.clone(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The values of these keys, in their order. What asks for them begins after this call did.
    ///
    /// # Errors
    /// What ClickHouse said, to these keys alone or to all in the same statement.
    pub(super) async fn ask(&self, keys: Vec<K>) -> Values<V> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        if keys.len() > MOST_KEYS_OF_A_QUESTION {
            return (self.shared.statement)(keys).await;
        }
        let (answer, answered) = oneshot::channel();
        if let Some(place) = Shared::wait(&self.shared, Question { keys: keys.clone(), answer }) {
            tokio::spawn(answer_all(place));
        }
        match answered.await {
            Ok(values) => values,
            // The statement's task panicked.
            Err(_) => (self.shared.statement)(keys).await,
        }
    }
}

impl<K, V> Shared<K, V> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<K, V>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a question in, and a place for it where one is free.
    fn wait(shared: &Arc<Self>, question: Question<K, V>) -> Option<Place<K, V>> {
        let mut waiting = shared.waiting();
        waiting.questions.push_back(question);
        shared.waiting_count.inc();
        let is_free = waiting.places_taken < AT_ONCE;
        waiting.places_taken += usize::from(is_free);
        drop(waiting);
        is_free.then(|| Place { shared: Arc::clone(shared), is_given_back: false })
    }
}

impl<K, V> Place<K, V> {
    /// The questions that have waited for the longest, as many as go into one statement. Gives the place back where nobody
    /// waits: in the same moment, so that who comes next finds it free.
    fn take(&mut self) -> Vec<Question<K, V>> {
        let mut waiting = self.shared.waiting();
        let (mut taken, mut keys) = (Vec::new(), 0);
        while let Some(next) = waiting.questions.front().map(|next| next.keys.len())
            && keys + next <= MOST_KEYS
        {
            let question = waiting.questions.pop_front();
            self.shared.waiting_count.dec();
            // Who does not wait any more need not be answered.
            for question in question.into_iter().filter(|question| !question.answer.is_closed()) {
                keys += next;
                taken.push(question);
            }
        }
        if taken.is_empty() {
            waiting.places_taken -= 1;
            self.is_given_back = true;
        }
        taken
    }
}

/// Answers questions until nobody waits.
async fn answer_all<K: Clone + Send + 'static, V: Send + 'static>(mut place: Place<K, V>) {
    loop {
        let mut questions = place.take();
        if questions.is_empty() {
            return;
        }
        let shared = &place.shared;
        shared.sizes.observe(questions.len() as f64);
        let keys = questions.iter().flat_map(|question| question.keys.iter().cloned()).collect();
        let is_unwanted = join_all(questions.iter_mut().map(|question| question.answer.closed()));
        let values = tokio::select! {
            values = (shared.statement)(keys) => values,
            _ = is_unwanted => continue,
        };
        match values {
            Ok(values) => {
                let mut values = values.into_iter();
                for Question { keys, answer } in questions {
                    // Who went away meanwhile does not mind.
                    let _ = answer.send(Ok(values.by_ref().take(keys.len()).collect()));
                }
            }
            Err(error) if questions.len() > 1 && may_be_anothers(&error) => {
                for Question { keys, mut answer } in questions {
                    let values = tokio::select! {
                        values = (shared.statement)(keys) => values,
                        () = answer.closed() => continue,
                    };
                    // As above.
                    let _ = answer.send(values);
                }
            }
            Err(error) => {
                for question in questions {
                    // As above.
                    let _ = question.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Whether a question could be answered though the statement that it had a share in was not.
fn may_be_anothers(error: &StoreError) -> bool {
    matches!(error, StoreError::TooExpensive { .. } | StoreError::Unreadable { .. })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    /// A key that no statement survives, and one whose statement finds nobody there.
    const TOO_MUCH: u32 = 100;
    const AWAY: u32 = 101;

    /// Statements that wait to be let go, and what each was asked for.
    struct Engine {
        shared: SharedStatements<u32, u32>,
        state: Arc<State>,
        waiting: IntGauge,
        sizes: Histogram,
    }

    #[derive(Default)]
    struct State {
        asked: Mutex<Vec<Vec<u32>>>,
        running: Mutex<usize>,
        goes_on: Notify,
    }

    /// A statement under way; dropped with it.
    struct Running(Arc<State>);

    impl Drop for Running {
        fn drop(&mut self) {
            *self.0.running.lock().unwrap() -= 1;
        }
    }

    async fn run(state: Arc<State>, keys: Vec<u32>) -> Values<u32> {
        state.asked.lock().unwrap().push(keys.clone());
        *state.running.lock().unwrap() += 1;
        let running = Running(state);
        running.0.goes_on.notified().await;
        let (doing, target, reason) = ("reading", "messages".to_owned(), "so it is".to_owned());
        match keys.iter().find(|key| [TOO_MUCH, AWAY].contains(key)) {
            Some(&TOO_MUCH) => Err(StoreError::TooExpensive { doing, target, reason }),
            Some(_) => Err(StoreError::Unavailable { doing, target, reason }),
            None => Ok(keys.iter().map(|key| key * 10).collect()),
        }
    }

    impl Engine {
        fn new() -> Arc<Self> {
            let state = Arc::<State>::default();
            let (waiting, sizes) = (IntGauge::new("waiting", "waiting").unwrap(), sizes().unwrap());
            let asked = Arc::clone(&state);
            let shared = SharedStatements::new(&waiting, &sizes, move |keys| Box::pin(run(Arc::clone(&asked), keys)));
            Arc::new(Self { shared, state, waiting, sizes })
        }

        async fn spawn(self: &Arc<Self>, keys: &[u32]) -> JoinHandle<Values<u32>> {
            let (engine, keys) = (Arc::clone(self), keys.to_vec());
            let asking = tokio::spawn(async move { engine.shared.ask(keys).await });
            settle().await;
            asking
        }

        /// As many statements under way as may be.
        async fn busy() -> (Arc<Self>, Vec<JoinHandle<Values<u32>>>) {
            let engine = Self::new();
            let asking = vec![engine.spawn(&[1]).await, engine.spawn(&[2]).await];
            assert_eq!(engine.asked(), [[1], [2]], "nobody waits where nobody is in the way");
            (engine, asking)
        }

        fn asked(&self) -> Vec<Vec<u32>> {
            self.state.asked.lock().unwrap().clone()
        }

        fn last(&self) -> Vec<u32> {
            self.asked().pop().unwrap()
        }

        fn running(&self) -> usize {
            *self.state.running.lock().unwrap()
        }

        /// Lets so many statements end, one after the other.
        async fn end(&self, statements: usize) {
            for _ in 0..statements {
                self.state.goes_on.notify_one();
                settle().await;
            }
        }
    }

    /// Lets all tasks run until each waits.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_asked_while_statements_run_goes_together() {
        let (engine, mut asking) = Engine::busy().await;
        for keys in [&[3, 4][..], &[5], &[3]] {
            asking.push(engine.spawn(keys).await);
        }
        assert_eq!((engine.asked().len(), engine.waiting.get()), (AT_ONCE, 3));
        engine.end(1).await;
        assert_eq!((engine.last(), engine.waiting.get()), (vec![3, 4, 5, 3], 0));
        engine.end(AT_ONCE).await;
        for (asking, values) in asking.into_iter().zip([&[10][..], &[20], &[30, 40], &[50], &[30]]) {
            assert_eq!(asking.await.unwrap().unwrap(), values);
        }
        assert_eq!((engine.sizes.get_sample_count(), engine.sizes.get_sample_sum()), (3, 5.0));
        // Both places are free again.
        for key in [6, 7] {
            engine.spawn(&[key]).await;
            assert_eq!(engine.last(), [key]);
        }
    }

    #[tokio::test]
    async fn who_goes_away_takes_nobodys_answer_along() {
        let (engine, _first) = Engine::busy().await;
        let (one, other) = (engine.spawn(&[3]).await, engine.spawn(&[4]).await);
        engine.end(1).await;
        assert_eq!(engine.last(), [3, 4]);
        one.abort();
        settle().await;
        engine.end(AT_ONCE).await;
        assert_eq!(other.await.unwrap().unwrap(), [40]);
        assert_eq!(engine.asked().len(), 3, "nothing was asked again");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_ends() {
        let (engine, first) = Engine::busy().await;
        let waiting = engine.spawn(&[3]).await;
        first.iter().for_each(JoinHandle::abort);
        settle().await;
        assert_eq!((engine.running(), engine.last()), (1, vec![3]));
        waiting.abort();
        settle().await;
        assert_eq!((engine.running(), engine.waiting.get()), (0, 0));
    }

    #[tokio::test]
    async fn a_question_that_is_too_much_fails_alone() {
        let (engine, _first) = Engine::busy().await;
        let good = engine.spawn(&[3]).await;
        let bad = engine.spawn(&[TOO_MUCH]).await;
        let also_good = engine.spawn(&[5]).await;
        engine.end(10).await;
        assert_eq!(good.await.unwrap().unwrap(), [30]);
        assert_eq!(also_good.await.unwrap().unwrap(), [50]);
        assert!(matches!(bad.await.unwrap(), Err(StoreError::TooExpensive { .. })));
    }

    #[tokio::test]
    async fn where_clickhouse_is_away_all_hear_of_it_from_one_statement() {
        let (engine, _first) = Engine::busy().await;
        let asking = [engine.spawn(&[3]).await, engine.spawn(&[AWAY]).await];
        engine.end(AT_ONCE + 1).await;
        for asking in asking {
            assert!(matches!(asking.await.unwrap(), Err(StoreError::Unavailable { .. })));
        }
        assert_eq!(engine.asked().len(), 3);
    }

    #[tokio::test]
    async fn large_questions_share_nothing_and_statements_have_an_end() {
        let (engine, _first) = Engine::busy().await;
        let many: Vec<u32> = (0..=MOST_KEYS_OF_A_QUESTION as u32).collect();
        let large = engine.spawn(&many).await;
        assert_eq!(engine.last(), many);
        engine.end(3).await;
        assert_eq!(large.await.unwrap().unwrap().len(), many.len());

        let (engine, mut asking) = Engine::busy().await;
        let full: Vec<u32> = (0..MOST_KEYS_OF_A_QUESTION as u32).collect();
        for _ in 0..=MOST_KEYS / MOST_KEYS_OF_A_QUESTION {
            asking.push(engine.spawn(&full).await);
        }
        engine.end(1).await;
        assert_eq!(engine.last().len(), MOST_KEYS);
        engine.end(10).await;
        for asking in asking {
            asking.await.unwrap().unwrap();
        }
    }
}
