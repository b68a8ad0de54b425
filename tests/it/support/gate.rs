//! A gate that connections to a server go through, and that a test can close, slow down or let fall in the middle of what
//! is being sent.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of bytes that come to the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Passage {
    /// They pass.
    Open,
    /// They wait; connections stay, and new ones are taken and not served.
    Blocked,
    /// Each piece of at most 16 KiB waits for so long.
    Delayed(Duration),
    /// So many more bytes pass towards the server, then the connection that sends the next one breaks, and the gate is
    /// open.
    CutAfter(u64),
}

/// A listening gate.
pub struct Gate {
    address: SocketAddr,
    rules: Arc<Rules>,
}

struct Rules {
    passage: Mutex<Passage>,
    changed: Condvar,
    cuts: AtomicU64,
    is_gone: AtomicBool,
}

impl Gate {
    /// Listens on a free port for connections to `server`, which need not be there yet.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new(Rules {
            passage: Mutex::new(Passage::Open),
            changed: Condvar::new(),
            cuts: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
        });
        let of_connections = Arc::clone(&rules);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_connections.is_gone.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is not there is a connection that breaks at once.
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (Arc::clone(&of_connections), Arc::clone(&of_connections));
                thread::spawn(move || up.forward(&client, &server, true));
                thread::spawn(move || down.forward(&server_too, &client_too, false));
            }
        });
        Self { address, rules }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, passage: Passage) {
        *self.rules.passage.lock().unwrap() = passage;
        self.rules.changed.notify_all();
    }

    /// How often a connection was broken while it was sending.
    pub fn cuts(&self) -> u64 {
        self.rules.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.set(Passage::Open);
        self.rules.is_gone.store(true, Ordering::Relaxed);
        // So that the listener hears of it.
        let _ = TcpStream::connect(self.address);
    }
}

impl Rules {
    /// Carries bytes one way until either side ends or the gate cuts, and then ends both ways.
    fn forward(&self, mut from: &TcpStream, mut to: &TcpStream, is_towards_server: bool) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            let passing = self.pass(read, is_towards_server);
            if to.write_all(&piece[..passing]).is_err() || passing < read {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Waits until bytes may pass, and says how many of them do: fewer where the connection is to break.
    fn pass(&self, bytes: usize, is_towards_server: bool) -> usize {
        let is_blocked = |passage: &mut Passage| *passage == Passage::Blocked;
        let mut passage = self.changed.wait_while(self.passage.lock().unwrap(), is_blocked).unwrap();
        match &mut *passage {
            Passage::Delayed(pause) => {
                let pause = *pause;
                drop(passage);
                thread::sleep(pause);
                bytes
            }
            Passage::CutAfter(left) if is_towards_server && *left < bytes as u64 => {
                let passing = *left as usize;
                *passage = Passage::Open;
                self.cuts.fetch_add(1, Ordering::Relaxed);
                passing
            }
            Passage::CutAfter(left) if is_towards_server => {
                *left -= bytes as u64;
                bytes
            }
            Passage::Open | Passage::Blocked | Passage::CutAfter(_) => bytes,
        }
    }
}
