//! Small questions of several requests in one statement.
//!
//! A statement costs milliseconds before it reads its first row, and one more message in it next to nothing. So few run at
//! once, and what is asked meanwhile goes together with the next: where ClickHouse is fast nobody waits, and where it is
//! not, statements grow instead of queueing up.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{Histogram, HistogramOpts};
use tokio::sync::{Semaphore, oneshot};

use crate::store::StoreError;

/// How many statements of one kind run at once. Two, so that a slow one does not hold up everybody.
const AT_ONCE: usize = 2;

/// From how many keys on a statement takes no more questions.
const MOST_KEYS: usize = 200;

/// Questions about things by their keys, each answered with one value a key, in the order of the keys.
#[derive(Debug)]
pub(super) struct SharedStatements<K, V> {
    waiting: Mutex<Waiting<K, V>>,
    statements: Semaphore,
    /// How many questions a statement answers.
    sizes: Histogram,
}

#[derive(Debug)]
struct Waiting<K, V> {
    questions: Vec<Question<K, V>>,
    last_number: u64,
}

#[derive(Debug)]
struct Question<K, V> {
    number: u64,
    keys: Vec<K>,
    /// `None`: the statement failed, which may be due to the others in it.
    answer: oneshot::Sender<Option<Vec<V>>>,
}

/// The histogram that all kinds of shared statements fill.
pub(super) fn sizes() -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(
        HistogramOpts::new(
            "seenby_api_questions_per_statement",
            "Requests that a statement about messages, their receipts or recalls was for.",
        )
        .buckets(prometheus::exponential_buckets(1.0, 2.0, 8)?),
    )
}

impl<K: Clone, V> SharedStatements<K, V> {
    pub(super) fn new(sizes: &Histogram) -> Self {
        let waiting = Waiting { questions: Vec::new(), last_number: 0 };
        Self { waiting: Mutex::new(waiting), statements: Semaphore::new(AT_ONCE), sizes: sizes.clone() }
    }

    /// The values of these keys. `run` asks for the values of any keys, in their order; it begins after this call did.
    ///
    /// # Errors
    /// Those of `run` with these keys alone.
    pub(super) async fn ask<R>(&self, keys: Vec<K>, run: impl Fn(Vec<K>) -> R) -> Result<Vec<V>, StoreError>
    where
        R: Future<Output = Result<Vec<V>, StoreError>>,
    {
        loop {
            let (number, mut answer) = self.wait(&keys);
            let answer = tokio::select! {
                biased;
                answer = &mut answer => answer,
                // Never closed.
                place = self.statements.acquire() => match self.take_with(number) {
                    Some(questions) => return self.answer(questions, number, &keys, run).await,
                    // Somebody took it in the same moment.
                    None => {
                        drop(place);
                        answer.await
                    }
                },
            };
            match answer {
                Ok(Some(values)) => return Ok(values),
                Ok(None) => return run(keys).await,
                // Whoever asked for all has gone away, and the statement with him.
                Err(_) => {}
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<K, V>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, keys: &[K]) -> (u64, oneshot::Receiver<Option<Vec<V>>>) {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.last_number += 1;
        let number = waiting.last_number;
        waiting.questions.push(Question { number, keys: keys.to_vec(), answer });
        (number, receiver)
    }

    /// Takes this question and those that fit in with it, the oldest first; `None` where another has taken it.
    fn take_with(&self, number: u64) -> Option<Vec<Question<K, V>>> {
        let mut waiting = self.waiting();
        // Who does not wait any more need not be answered.
        waiting.questions.retain(|question| !question.answer.is_closed());
        let own = waiting.questions.iter().position(|question| question.number == number)?;
        let mut taken = vec![waiting.questions.remove(own)];
        let mut keys = taken.iter().map(|question| question.keys.len()).sum::<usize>();
        taken.extend(waiting.questions.extract_if(.., |question| {
            let fits = keys + question.keys.len() <= MOST_KEYS;
            keys += if fits { question.keys.len() } else { 0 };
            fits
        }));
        Some(taken)
    }

    /// Asks for all, tells the others, and returns the own values.
    async fn answer<R>(
        &self,
        questions: Vec<Question<K, V>>,
        number: u64,
        keys: &[K],
        run: impl Fn(Vec<K>) -> R,
    ) -> Result<Vec<V>, StoreError>
    where
        R: Future<Output = Result<Vec<V>, StoreError>>,
    {
        let is_alone = questions.len() == 1;
        self.sizes.observe(questions.len() as f64);
        let all: Vec<K> = questions.iter().flat_map(|question| question.keys.iter().cloned()).collect();
        let asked = all.len();
        let values = match run(all).await {
            Err(error) if is_alone => return Err(error),
            Err(error) => {
                tracing::debug!(%error, questions = questions.len(), "a shared statement failed: each asks for itself");
                None
            }
            Ok(values) => Some(values),
        };
        debug_assert!(values.as_ref().is_none_or(|values| values.len() == asked), "a value a key");
        let mut values = values.map(Vec::into_iter);
        let mut own = None;
        for question in questions {
            let answer = values.as_mut().map(|values| values.by_ref().take(question.keys.len()).collect());
            if question.number == number {
                own = answer;
            } else {
                // Who went away meanwhile does not mind.
                let _ = question.answer.send(answer);
            }
        }
        match own {
            Some(values) => Ok(values),
            None => run(keys.to_vec()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    /// Statements that wait to be let go, and what each was asked for.
    struct Engine {
        shared: SharedStatements<u32, u32>,
        asked: Mutex<Vec<Vec<u32>>>,
        goes_on: Notify,
        /// Which key no statement survives.
        poison: Option<u32>,
    }

    impl Engine {
        fn with(poison: Option<u32>) -> Arc<Self> {
            let shared = SharedStatements::new(&sizes().unwrap());
            Arc::new(Self { shared, asked: Mutex::default(), goes_on: Notify::new(), poison })
        }

        async fn ask(self: Arc<Self>, keys: Vec<u32>) -> Result<Vec<u32>, StoreError> {
            let engine = &self;
            let run = |keys: Vec<u32>| async move {
                engine.asked.lock().unwrap().push(keys.clone());
                engine.goes_on.notified().await;
                if engine.poison.is_some_and(|poison| keys.contains(&poison)) {
                    return Err(StoreError::Unreadable { table: "messages", reason: "poison".to_owned() });
                }
                Ok(keys.iter().map(|key| key * 10).collect())
            };
            engine.shared.ask(keys, run).await
        }

        fn spawn(self: &Arc<Self>, keys: &[u32]) -> tokio::task::JoinHandle<Result<Vec<u32>, StoreError>> {
            tokio::spawn(Arc::clone(self).ask(keys.to_vec()))
        }

        fn asked(&self) -> Vec<Vec<u32>> {
            self.asked.lock().unwrap().clone()
        }
    }

    /// Lets all tasks run until each waits.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// As many statements under way as may be, of which the first asks for these keys.
    async fn busy(engine: &Arc<Engine>) -> Vec<tokio::task::JoinHandle<Result<Vec<u32>, StoreError>>> {
        let mut asking = Vec::new();
        for key in 1..=AT_ONCE as u32 {
            asking.push(engine.spawn(&[key]));
            settle().await;
        }
        assert_eq!(engine.asked(), [[1], [2]], "nobody waits where nobody is in the way");
        asking
    }

    #[tokio::test]
    async fn what_is_asked_while_statements_run_goes_together() {
        let engine = Engine::with(None);
        let first = busy(&engine).await;
        let rest = [&[3, 4][..], &[5], &[3]].map(|keys| engine.spawn(keys));
        settle().await;
        assert_eq!(engine.asked().len(), AT_ONCE);
        for _ in 0..=AT_ONCE {
            engine.goes_on.notify_one();
            settle().await;
        }
        assert_eq!(engine.asked().last().unwrap(), &[3, 4, 5, 3]);
        assert_eq!((engine.shared.sizes.get_sample_count(), engine.shared.sizes.get_sample_sum()), (3, 5.0));
        for (asking, values) in first.into_iter().chain(rest).zip([&[10][..], &[20], &[30, 40], &[50], &[30]]) {
            assert_eq!(asking.await.unwrap().unwrap(), values);
        }
    }

    #[tokio::test]
    async fn who_goes_away_takes_nobodys_answer_along() {
        let engine = Engine::with(None);
        let first = busy(&engine).await;
        let (leader, follower) = (engine.spawn(&[3]), engine.spawn(&[4]));
        settle().await;
        engine.goes_on.notify_one();
        settle().await;
        assert_eq!(engine.asked().last().unwrap(), &[3, 4]);
        leader.abort();
        settle().await;
        assert_eq!(engine.asked().last().unwrap(), &[4]);
        for _ in 0..AT_ONCE {
            engine.goes_on.notify_one();
            settle().await;
        }
        assert_eq!(follower.await.unwrap().unwrap(), [40]);
        drop(first);
    }

    #[tokio::test]
    async fn a_question_that_a_statement_does_not_survive_fails_alone() {
        let engine = Engine::with(Some(4));
        let first = busy(&engine).await;
        let [good, bad, also_good] = [3, 4, 5].map(|key| engine.spawn(&[key]));
        settle().await;
        for _ in 0..10 {
            engine.goes_on.notify_one();
            settle().await;
        }
        assert_eq!(good.await.unwrap().unwrap(), [30]);
        assert_eq!(also_good.await.unwrap().unwrap(), [50]);
        assert!(bad.await.unwrap().is_err());
        drop(first);
    }

    #[tokio::test]
    async fn a_statement_takes_no_more_keys_than_it_may_have() {
        let engine = Engine::with(None);
        let first = busy(&engine).await;
        let many: Vec<u32> = (0..MOST_KEYS as u32 - 1).collect();
        let large = engine.spawn(&many);
        settle().await;
        let rest = [&[3, 4][..], &[5]].map(|keys| engine.spawn(keys));
        settle().await;
        engine.goes_on.notify_one();
        settle().await;
        assert_eq!(engine.asked().last().unwrap().len(), MOST_KEYS, "one more fits");
        for _ in 0..10 {
            engine.goes_on.notify_one();
            settle().await;
        }
        assert_eq!(large.await.unwrap().unwrap().len(), many.len());
        for asking in first.into_iter().chain(rest) {
            asking.await.unwrap().unwrap();
        }
    }
}
