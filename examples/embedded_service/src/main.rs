//! An HTTP service in Rust that runs Python coroutines.
//!
//! `POST /run` runs the coroutine function `run` of the handlers with the body of the request; it
//! starts a command with `procio` and returns its `Process`, and the service streams what that
//! writes to the client, as it comes. `POST /sort` starts a child in Rust and hands it to the
//! coroutine function `sort`, whose result is the answer.
//!
//! The runtime of tokio is outside, the event loop of Python runs in a thread of its own, and each
//! has its reactor. SIGTERM and Ctrl-C end the service: children first, then Python.

mod python;
mod stream;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use procio::tokio::Driver;
use procio::{Command, Stdio};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use python::Interpreter;

/// What every request needs.
#[derive(Clone)]
struct Service {
    driver: Driver,
    python: Interpreter,
    limit: Duration,
    /// The requests that have a child, to be waited for at the end.
    running: TaskTracker,
    stopping: CancellationToken,
}

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args_os().skip(1);
    let handlers = args.next().map(PathBuf::from);
    let handlers =
        handlers.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/handlers.py").into());
    let mut text = || args.next().and_then(|arg| arg.into_string().ok());
    let address = text().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let limit = text().unwrap_or_else(|| "30".to_owned()).parse()?;

    let service = Service {
        driver: Driver::new()?,
        python: Interpreter::start(&handlers)?,
        limit: Duration::from_secs_f64(limit),
        running: TaskTracker::new(),
        stopping: CancellationToken::new(),
    };
    let app = Router::new()
        .route("/run", post(run))
        .route("/sort", post(sort))
        .with_state(service.clone());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stopping = service.stopping.clone();
    let server = axum::serve(listener, app);
    let server = server.with_graceful_shutdown(async move { stopped(stopping).await });
    server.await?;
    service.running.close();
    service.running.wait().await;
    service.python.stop()?;
    println!("stopped");
    Ok(())
}

/// Waits for a signal, and tells the requests.
async fn stopped(stopping: CancellationToken) {
    let (term, int) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    if let (Ok(mut term), Ok(mut int)) = (term, int) {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    stopping.cancel();
}

/// Has Python start a command, takes it over, and streams its output.
async fn run(State(service): State<Service>, body: Bytes) -> Response {
    let (started, output) = stream::channel();
    // In a task of its own: a client that goes away must not keep the command from being ended.
    service
        .running
        .spawn(stream::serve(service.clone(), body, started));
    match output.await {
        Ok(Ok(chunks)) => Body::from_stream(chunks).into_response(),
        Ok(Err(error)) => failure(&error),
        Err(_) => failure(&"the request was given up".into()),
    }
}

/// Starts a command here, and hands it to Python.
async fn sort(State(service): State<Service>, body: Bytes) -> Response {
    let sorted = async {
        let mut command = Command::new("sort");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.kill_on_drop(true).spawn(&service.driver).await?;
        service.python.sort(&body, child).await
    };
    match sorted.await {
        Ok(sorted) => sorted.into_response(),
        Err(error) => failure(&error),
    }
}

fn failure(error: &Failure) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
