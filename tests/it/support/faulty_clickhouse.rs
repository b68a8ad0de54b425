//! A ClickHouse that misbehaves when told to: a relay before the real engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// What happens to inserts, or to everything else but the look at which migrations were applied. The rest goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens.
    None,
    /// They are answered with this exception.
    Exception(u32, &'static str),
    /// They are taken and not answered.
    Silence,
    /// All that is asked is taken and not answered.
    SilentToQuestions,
    /// Their connection breaks before the engine sees them.
    Cut,
    /// The engine takes them, and the answer is lost.
    AnswerLost,
}

/// The relay; ends with the process.
pub struct FaultyClickHouse {
    pub url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    engine: String,
    client: reqwest::Client,
    fault: Mutex<Fault>,
    met: AtomicU64,
    statements: AtomicU64,
    /// Query strings of what was no insert.
    questions: Mutex<Vec<String>>,
}

impl FaultyClickHouse {
    /// Before the engine at that address.
    pub fn before(engine: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            client: reqwest::Client::new(),
            fault: Mutex::new(Fault::None),
            met: AtomicU64::new(0),
            statements: AtomicU64::new(0),
            questions: Mutex::default(),
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(relay).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, shared, _runtime: runtime }
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// How many statements have come, inserts among them.
    pub fn statements(&self) -> u64 {
        self.shared.statements.load(Ordering::Relaxed)
    }

    /// The settings of each statement that was no insert, in the order in which they came.
    pub fn settings(&self) -> Vec<BTreeMap<String, String>> {
        let questions = self.shared.questions.lock().unwrap();
        let settings = |query: &String| form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        questions.iter().map(settings).collect()
    }

    /// How many inserts have met a fault.
    pub fn met(&self) -> u64 {
        self.shared.met.load(Ordering::Relaxed)
    }
}

async fn relay(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.statements.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let is_insert = query.contains("query=INSERT");
    if !is_insert {
        shared.questions.lock().unwrap().push(query.clone());
    }
    let is_about_migrations = String::from_utf8_lossy(&body).contains("schema_migrations");
    let fault = match *shared.fault.lock().unwrap() {
        Fault::SilentToQuestions if is_insert || is_about_migrations => Fault::None,
        fault if is_insert || fault == Fault::SilentToQuestions => fault,
        _ => Fault::None,
    };
    if fault != Fault::None {
        shared.met.fetch_add(1, Ordering::Relaxed);
    }
    match fault {
        Fault::Exception(code, text) => {
            let headers = [("X-ClickHouse-Exception-Code", code.to_string())];
            let text = format!("Code: {code}. DB::Exception: {text}");
            return (StatusCode::INTERNAL_SERVER_ERROR, headers, text).into_response();
        }
        Fault::Silence | Fault::SilentToQuestions => {
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        Fault::Cut => return broken(),
        Fault::None | Fault::AnswerLost => {}
    }
    let url = format!("{}{}", shared.engine, parts.uri.path_and_query().map_or("/", |path| path.as_str()));
    let answer = shared.client.request(parts.method, url).headers(parts.headers).body(body).send().await;
    match answer {
        Ok(answer) if fault == Fault::None => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::new(Body::from(answer.bytes().await.unwrap_or_default()));
            *response.status_mut() = status;
            for name in ["X-ClickHouse-Exception-Code", "Content-Type", "X-ClickHouse-Format"] {
                if let Some(value) = headers.get(name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            response
        }
        _ => broken(),
    }
}

/// An answer whose body breaks off: the client learns nothing but that the connection is gone.
fn broken() -> Response {
    let cut = futures_util::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("cut")) });
    Response::new(Body::from_stream(cut))
}
