//! The rules of an entry, one at a time. [`super::histories`] tries them in every order.

use kiam_common::credentials::Credentials;
use kiam_common::role::RoleArn;
use kiam_common::secret::Secret;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Credentials that can be told apart by their number.
pub(super) fn credentials(number: usize) -> Arc<Issued> {
    let credentials = Credentials {
        access_key_id: number.to_string(),
        secret_access_key: Secret::new(String::new()),
        session_token: Secret::new(String::new()),
        expiration: Timestamp::UNIX_EPOCH,
        last_updated: Timestamp::UNIX_EPOCH,
    };
    Arc::new(Issued::new(credentials, &RoleArn::parse("arn:aws:iam::123456789012:role/reader").unwrap()))
}

pub(super) fn error(kind: StsErrorKind, number: usize) -> Arc<StsError> {
    Arc::new(StsError { kind, code: None, message: number.to_string() })
}

/// With credentials that end at 100 and are due at 50.
fn holding() -> Entry {
    let mut entry = Entry::default();
    entry.begin();
    entry.granted(credentials(1), at(100), at(50));
    entry
}

fn fail(entry: &mut Entry, kind: StsErrorKind, now: u64, until: u64) {
    entry.begin();
    entry.failed(error(kind, 1), at(now), |_, _| at(until));
}

#[test]
fn an_entry_goes_through_its_life() {
    let mut entry = Entry::default();
    assert_eq!((entry.is_due(at(0)), entry.rank(at(0))), (true, None));
    entry.begin();
    assert_eq!((entry.stage(at(0)), entry.rank(at(0))), (Stage::Fetching, Some(Rank::Prefetch)));
    entry.granted(credentials(1), at(100), at(50));
    assert_eq!((entry.stage(at(49)), entry.is_due(at(49))), (Stage::Fresh, false));
    assert!(entry.is_due(at(50)));
    entry.begin();
    assert_eq!((entry.stage(at(50)), entry.rank(at(50))), (Stage::Refreshing, Some(Rank::Expiring)));
    assert!(!entry.is_due(at(50)), "a call is under way");
    entry.failed(error(StsErrorKind::Unavailable, 1), at(60), |times, left| {
        assert_eq!((times, left), (1, Some(Duration::from_secs(40))));
        at(70)
    });
    assert_eq!((entry.stage(at(65)), entry.is_due(at(65))), (Stage::Stale, false));
    assert!(entry.is_due(at(70)));
    assert_eq!(entry.stage(at(100)), Stage::Expired);
    entry.begin();
    entry.granted(credentials(2), at(200), at(150));
    assert_eq!(entry.stage(at(101)), Stage::Fresh);
}

#[test]
fn who_is_supplied_gets_what_is_held_or_the_last_failure_unless_a_call_may_tell_better() {
    let mut entry = holding();
    assert!(matches!(entry.supply(at(99)), Supply::Held { ends, .. } if ends == at(100)));
    fail(&mut entry, StsErrorKind::Unavailable, 60, 70);
    assert!(matches!(entry.supply(at(99)), Supply::Held { .. }), "a failed renewal takes nothing away");
    assert!(matches!(entry.supply(at(100)), Supply::Failed(_)), "long after the pause");
    entry.begin();
    assert!(matches!(entry.supply(at(100)), Supply::Awaited));
    assert!(matches!(Entry::default().supply(at(0)), Supply::Awaited));
}

#[test]
fn held_credentials_are_served_until_they_end_and_not_after() {
    let mut entry = holding();
    fail(&mut entry, StsErrorKind::Refused, 60, 120);
    assert!(matches!(entry.answer(at(99)), Answer::Held(held) if held.credentials.access_key_id == "1"));
    assert!(matches!(entry.answer(at(100)), Answer::Failed(_)), "the refusal is still remembered");
    assert!(matches!(entry.answer(at(120)), Answer::Await));
    assert_eq!(entry.life_left(at(100)), None);
}

#[test]
fn a_failure_is_remembered_for_its_pause_or_until_something_changes() {
    let mut entry = Entry::default();
    fail(&mut entry, StsErrorKind::Refused, 0, 5);
    assert!(matches!(entry.answer(at(4)), Answer::Failed(_)));
    assert!(matches!(entry.answer(at(5)), Answer::Await));
    entry.forget_failure();
    assert!(matches!(entry.answer(at(1)), Answer::Await));
    assert!(entry.is_due(at(1)));
}

#[test]
fn failures_are_counted_until_one_call_succeeds() {
    let mut entry = Entry::default();
    let mut counted = Vec::new();
    for round in 0..4 {
        entry.begin();
        if round == 2 {
            entry.granted(credentials(1), at(10), at(5));
        } else {
            entry.failed(error(StsErrorKind::Throttled, 1), at(20), |times, _| {
                counted.push(times);
                at(20)
            });
        }
    }
    assert_eq!(counted, [1, 2, 1]);
}

#[test]
fn only_who_needs_it_asks_again_for_a_role_that_is_refused() {
    let mut entry = Entry::default();
    fail(&mut entry, StsErrorKind::Refused, 0, 5);
    assert_eq!((entry.is_due(at(9)), entry.is_worth_asking(at(9)), entry.stage(at(9))), (true, false, Stage::Refused));
    fail(&mut entry, StsErrorKind::OwnCredentials, 9, 10);
    assert_eq!((entry.is_worth_asking(at(11)), entry.stage(at(11))), (true, Stage::Failed));
    let mut entry = holding();
    fail(&mut entry, StsErrorKind::Refused, 60, 65);
    assert!(entry.is_worth_asking(at(66)), "pods have credentials to lose");
}

#[test]
fn a_call_is_attempted_again_only_for_somebody_who_waits_and_only_if_that_may_help() {
    for (kind, awaited, expected) in [
        (StsErrorKind::Unavailable, true, vec![Next::AfterFailed(1), Next::AfterFailed(2), Next::GiveUp]),
        (StsErrorKind::Throttled, true, vec![Next::AfterFailed(1), Next::AfterFailed(2), Next::GiveUp]),
        (StsErrorKind::Unavailable, false, vec![Next::GiveUp]),
        (StsErrorKind::Refused, true, vec![Next::GiveUp]),
        (StsErrorKind::OwnCredentials, true, vec![Next::GiveUp]),
    ] {
        let mut entry = Entry::default();
        entry.begin();
        if awaited {
            entry.wait();
        }
        let next: Vec<_> = expected.iter().map(|_| entry.attempt_failed(kind, HOUR)).collect();
        assert_eq!(next, expected, "{kind:?} {awaited}");
    }
}

#[test]
fn a_session_that_is_too_long_is_asked_for_once_more_with_an_hour_which_is_remembered() {
    let configured = 12 * HOUR;
    let mut entry = Entry::default();
    entry.begin();
    assert_eq!(entry.duration(configured), configured);
    assert_eq!(entry.attempt_failed(StsErrorKind::TooLong, configured), Next::Shorter);
    assert_eq!(entry.duration(configured), HOUR);
    assert_eq!(entry.attempt_failed(StsErrorKind::TooLong, configured), Next::GiveUp);
    entry.granted(credentials(1), at(100), at(50));
    assert_eq!(entry.duration(configured), HOUR);
    assert_eq!(entry.duration(HOUR / 4), HOUR / 4);
    let mut entry = Entry::default();
    entry.begin();
    assert_eq!(entry.attempt_failed(StsErrorKind::TooLong, HOUR), Next::GiveUp, "an hour is what everybody may have");
}

#[test]
fn who_waits_comes_first_and_what_expires_soon_next() {
    let mut entry = holding();
    entry.begin();
    assert_eq!(entry.rank(at(60)), Some(Rank::Expiring));
    assert_eq!(entry.rank(at(100)), Some(Rank::Prefetch));
    entry.wait();
    assert!(entry.is_awaited());
    assert_eq!(entry.rank(at(60)), Some(Rank::Waiting));
    let mut entry = Entry::default();
    entry.begin();
    entry.granted(credentials(1), at(3600), at(1800));
    entry.begin();
    assert_eq!(entry.rank(at(1800)), Some(Rank::Refresh));
    assert_eq!(entry.rank(at(3301)), Some(Rank::Expiring));
}
