//! The worker's blocking loops, each on a thread that moves only while the scheduler waits for it: one thing happens at
//! a time, in the order of the seed. Dropping one is a crash: what it was in the middle of never goes on.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

/// What a crashed loop is unwound with.
struct Crashed;

thread_local! {
    static BATON: RefCell<Option<Baton>> = const { RefCell::new(None) };
}

/// The loop's ends of the channels by which the turn goes to and fro.
struct Baton {
    turns: Receiver<()>,
    pauses: Sender<Pause>,
}

/// Why a loop gives its turn back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// In the middle of something that is over after so many turns.
    Busy(u32),
    /// There is nothing to do.
    Idle,
}

pub struct Coroutine {
    turns: Option<Sender<()>>,
    pauses: Receiver<Pause>,
    thread: Option<JoinHandle<()>>,
    is_idle: bool,
    /// Turns to be passed over.
    busy_for: u32,
}

impl Coroutine {
    /// A loop that begins with the first [`Coroutine::resume`].
    pub fn new(work: impl FnOnce() + Send + 'static) -> Self {
        let (turn_sender, turns) = bounded(1);
        let (pauses, pause_receiver) = bounded(1);
        let thread = thread::spawn(move || {
            if turns.recv().is_err() {
                return;
            }
            BATON.set(Some(Baton { turns, pauses }));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work))
                && !payload.is::<Crashed>()
            {
                resume_unwind(payload);
            }
        });
        Self { turns: Some(turn_sender), pauses: pause_receiver, thread: Some(thread), is_idle: false, busy_for: 0 }
    }

    /// Whether it has come to its end.
    pub fn is_over(&self) -> bool {
        self.turns.is_none()
    }

    /// There may be something to do for it.
    pub fn wake(&mut self) {
        self.is_idle = false;
    }

    /// Lets it run up to its next pause, unless it has nothing to do.
    pub fn resume(&mut self) {
        if self.busy_for > 0 {
            self.busy_for -= 1;
            return;
        }
        let Some(turns) = self.turns.as_ref().filter(|_| !self.is_idle) else { return };
        // A thread that has ended holds no end of a channel any more.
        let pause = turns.send(()).ok().and_then(|()| self.pauses.recv().ok());
        match pause {
            Some(Pause::Idle) => self.is_idle = true,
            Some(Pause::Busy(turns)) => self.busy_for = turns,
            None => {
                self.turns = None;
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    resume_unwind(panic);
                }
            }
        }
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        self.turns = None;
        if let Some(thread) = self.thread.take() {
            // A failed assertion ends the run when the loop is resumed; here it is only torn down.
            let _ = thread.join();
        }
    }
}

/// Gives the turn back to the scheduler, where the caller runs in a [`Coroutine`]; elsewhere nothing happens.
pub fn pause() {
    pause_for(0);
}

/// The same, and passes so many more turns over.
pub fn pause_for(turns: u32) {
    give_turn_back(Pause::Busy(turns));
}

/// The same from a loop that has nothing to do.
pub fn wait_for_work() {
    give_turn_back(Pause::Idle);
}

fn give_turn_back(pause: Pause) {
    if thread::panicking() {
        return;
    }
    let is_crash = BATON.with_borrow(|baton| match baton {
        None => false,
        Some(baton) => baton.pauses.send(pause).is_err() || baton.turns.recv().is_err(),
    });
    if is_crash {
        resume_unwind(Box::new(Crashed));
    }
}
