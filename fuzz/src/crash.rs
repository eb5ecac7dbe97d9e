//! Running a target and noticing every panic, also one that somebody caught or that another thread had.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, Once, PoisonError};

use crate::Target;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Where the first panic was: file and line.
    pub place: String,
    /// What it said.
    pub message: String,
}

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static HERE: RefCell<Option<Crash>> = const { RefCell::new(None) };
}

/// The first panic of a thread that a target started.
static ELSEWHERE: Mutex<Option<Crash>> = Mutex::new(None);
static HOOKED: Once = Once::new();

/// Runs the target on an input; any panic meanwhile is a crash, even one that is caught inside.
///
/// # Errors
/// The first panic.
pub fn watched(target: &Target, input: &[u8]) -> Result<(), Crash> {
    HOOKED.call_once(hook);
    WATCHING.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    WATCHING.set(false);
    let elsewhere = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take();
    match HERE.take().or(elsewhere) {
        Some(crash) => Err(crash),
        None => ended.map_err(|panic| Crash { place: "unknown".to_owned(), message: text(&*panic) }),
    }
}

fn hook() {
    let before = take_hook();
    set_hook(Box::new(move |info| {
        if WATCHING.get() {
            HERE.with_borrow_mut(|here| _ = here.get_or_insert_with(|| crash(info)));
        } else if std::thread::current().name().is_some_and(|name| name.starts_with("heartbeat-")) {
            let mut elsewhere = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner);
            elsewhere.get_or_insert_with(|| crash(info));
        } else {
            before(info);
        }
    }));
}

fn crash(info: &PanicHookInfo<'_>) -> Crash {
    let place = info.location().map_or_else(|| "unknown".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
    Crash { place, message: text(info.payload()) }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
