//! What is said to which challenge, and how often.

use super::*;
use crate::addr::Host;
use crate::config::Secret;

fn account(schemes: &[Scheme]) -> Arc<Account> {
    let password = Some(Secret::new("Circle of Life".to_owned()));
    let credentials = Credentials { user: "Mufasa".to_owned(), password, keytab: None };
    Arc::new(Account::new("corp", schemes, &credentials))
}

fn proxy() -> UpstreamHost {
    UpstreamHost::Name(Host::parse(b"proxy.example").expect("a valid name"))
}

async fn begin(account: &Arc<Account>) -> Conversation {
    account.begin(&proxy(), "http://proxy.example:3128").await.expect("not held")
}

async fn say(conversation: &mut Conversation, asked: &[&str]) -> Result<Option<String>, Refusal> {
    let asked: Vec<&[u8]> = asked.iter().map(|value| value.as_bytes()).collect();
    conversation.answer("CONNECT", "a.example:443", &asked).await.map(|answer| answer.map(|value| value.to_string()))
}

const BASIC: &str = "Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl";

#[tokio::test]
async fn the_only_scheme_speaks_first() {
    let mut basic = begin(&account(&[Scheme::Basic])).await;
    assert_eq!(say(&mut basic, &[]).await, Ok(Some(BASIC.to_owned())));
    assert!(basic.is_final() && !basic.is_bound());
    let mut ntlm = begin(&account(&[Scheme::Ntlm])).await;
    let said = say(&mut ntlm, &[]).await.expect("a message").expect("a message");
    assert!(said.starts_with("NTLM TlRMTVNTUAABAAAA"), "{said}");
    assert!(ntlm.is_bound() && !ntlm.is_final());
    let mut digest = begin(&account(&[Scheme::Digest])).await;
    assert_eq!(say(&mut digest, &[]).await, Ok(None));
}

#[tokio::test]
async fn of_several_schemes_the_first_that_is_offered_is_taken_and_remembered() {
    let account = account(&[Scheme::Ntlm, Scheme::Basic]);
    let mut first = begin(&account).await;
    assert_eq!(say(&mut first, &[]).await, Ok(None));
    assert_eq!(say(&mut first, &["Negotiate", "Basic realm=\"x\""]).await, Ok(Some(BASIC.to_owned())));
    first.accepted();
    let mut second = begin(&account).await;
    assert_eq!(say(&mut second, &[]).await, Ok(Some(BASIC.to_owned())));
}

#[tokio::test]
async fn what_was_not_configured_is_never_sent() {
    let mut ntlm = begin(&account(&[Scheme::Ntlm])).await;
    let refusal = say(&mut ntlm, &["Basic realm=\"x\", Bearer", "\x1bodd"]).await.expect_err("nothing in common");
    assert_eq!(refusal.to_string(), "wants Basic, Bearer credentials, auth says ntlm");
    let refusal = say(&mut ntlm, &["???"]).await.expect_err("no challenge");
    assert_eq!(refusal.to_string(), "wants unknown credentials, auth says ntlm");
}

#[tokio::test]
async fn digest_takes_the_strongest_and_goes_on_with_its_nonce() {
    const ASKED: &str = r#"Digest realm="r", qop="auth", algorithm=MD5, nonce="m", Digest realm="r", qop="auth", algorithm=SHA-256, nonce="s""#;
    let account = account(&[Scheme::Digest]);
    let mut first = begin(&account).await;
    assert_eq!(say(&mut first, &[]).await, Ok(None));
    let said = say(&mut first, &[ASKED]).await.expect("an answer").expect("an answer");
    for part in ["Digest username=\"Mufasa\"", "SHA-256", "nonce=\"s\"", "uri=\"a.example:443\"", "nc=00000001"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    first.accepted();
    let mut second = begin(&account).await;
    let said = say(&mut second, &[]).await.expect("an answer").expect("an answer");
    assert!(said.contains("nc=00000002"), "{said}");
    // the nonce was old by now, which is no refusal, whatever the proxy calls it
    let said = say(&mut second, &[r#"Digest realm="r", qop="auth", nonce="new""#]).await.expect("again");
    assert!(said.is_some_and(|said| said.contains("nonce=\"new\"")));
    let said = say(&mut second, &[r#"Digest realm="r", qop="auth", stale=true, nonce="newer""#]).await.expect("again");
    assert!(said.is_some_and(|said| said.contains("nonce=\"newer\"")));
    assert!(matches!(say(&mut second, &[ASKED]).await, Err(Refusal::Wrong(_))));
}

/// RFC 7616 section 3.9.1, with a cnonce of the library's own: what is checked is that ours is its arithmetic.
#[test]
fn digest_is_that_of_the_rfc() {
    let value = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
    let offers = challenges(value.as_bytes());
    let digest = Digest::best(&offers).expect("a challenge");
    let said = digest.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html").expect("an answer");
    let part = |name: &str| {
        let from = said.find(&format!("{name}=")).expect(name) + name.len() + 1;
        said[from..].split(',').next().expect("a value").trim_matches('"').to_owned()
    };
    let md5 = |text: &str| -> String {
        use md5::Digest as _;
        md5::Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let secret = md5("Mufasa:http-auth@example.org:Circle of Life");
    let request = md5("GET:/dir/index.html");
    assert_eq!(request, "39aff3a2bab6126f332b942af96d3366");
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let wanted = md5(&format!("{secret}:{nonce}:{}:{}:auth:{request}", part("nc"), part("cnonce")));
    assert_eq!(part("response"), wanted);
}

#[tokio::test]
async fn a_challenge_of_ntlm_that_makes_no_sense_is_told() {
    for (asked, words) in [
        ("NTLM !!!", "wants unknown"),
        ("NTLM abc", "no Base64"),
        ("NTLM TlRMTVNTUAACAAAA", "cut short"),
        ("NTLM TlRMTVNTUAABAAAA", "no NTLM challenge"),
    ] {
        let mut ntlm = begin(&account(&[Scheme::Ntlm])).await;
        say(&mut ntlm, &[]).await.expect("a message");
        match say(&mut ntlm, &[asked]).await {
            Err(refusal) => assert!(refusal.to_string().contains(words), "{asked}: {refusal}"),
            // no token at all: begins anew
            Ok(said) => assert!(said.is_some_and(|said| said.starts_with("NTLM TlRMTVNTUAABAAAA")), "{asked}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_by_however_many() {
    let account = account(&[Scheme::Basic]);
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let account = account.clone();
        tries.spawn(async move {
            let mut conversation = account.begin(&proxy(), "p").await?;
            say(&mut conversation, &[]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            say(&mut conversation, &["Basic realm=\"x\""]).await
        });
    }
    let outcomes = tries.join_all().await;
    let wrong = outcomes.iter().filter(|o| matches!(o, Err(Refusal::Wrong(_)))).count();
    let held = outcomes.iter().filter(|o| matches!(o, Err(Refusal::Held { .. }))).count();
    assert_eq!((wrong, held), (1, 99));
    assert!(account.held().is_some_and(|left| left > Duration::from_secs(58)));
    let refusal = account.begin(&proxy(), "p").await.expect_err("held").to_string();
    assert_eq!(refusal, "credentials were refused by p (user Mufasa by basic), held for 60s more");
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_given_back_and_a_slow_verdict_holds_nobody_up() {
    let account = account(&[Scheme::Basic]);
    let first = begin(&account).await;
    let waiting = tokio::spawn({
        let account = account.clone();
        async move { begin(&account).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(first);
    let second = waiting.await.expect("its turn");
    let start = tokio::time::Instant::now();
    let _third = begin(&account).await;
    assert!(start.elapsed() >= Duration::from_secs(3), "it went before the second was heard");
    let mut second = second;
    say(&mut second, &[]).await.expect("credentials");
    second.accepted();
    for _ in 0..10 {
        begin(&account).await;
    }
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn only_the_first_message_of_ntlm_goes_without_a_body() {
    for (schemes, is_final) in [
        (&[Scheme::Basic][..], true),
        (&[Scheme::Digest], true),
        (&[Scheme::Ntlm], false),
        (&[Scheme::Ntlm, Scheme::Basic], true),
    ] {
        let mut conversation = begin(&account(schemes)).await;
        say(&mut conversation, &[]).await.expect("something or nothing");
        assert_eq!(conversation.is_final(), is_final, "{schemes:?}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let account = account(&[Scheme::Basic]);
    assert!(!format!("{account:?}").contains("Circle"));
}

/// Credentials that are answered with `asked` after `after`, by 30 at once: how many were really sent.
async fn storm(schemes: &[Scheme], after: Duration, asked: &'static str) -> usize {
    let account = account(schemes);
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (account, sent) = (account.clone(), sent.clone());
        tries.spawn(async move {
            let mut conversation = account.begin(&proxy(), "p").await?;
            let mut value = say(&mut conversation, &[]).await?;
            for _ in 0..4 {
                sent.fetch_add(value.is_some().into(), std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(after).await;
                value =
                    say(&mut conversation, if asked.is_empty() { &[] } else { std::slice::from_ref(&asked) }).await?;
            }
            Ok::<_, Refusal>(())
        });
    }
    assert!(tries.join_all().await.iter().all(Result::is_err));
    sent.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_slow_to_refuse_still_hears_few_wrong_passwords() {
    assert_eq!(storm(&[Scheme::Basic], Duration::from_secs(5), "Basic realm=\"x\"").await, 2);
    assert_eq!(storm(&[Scheme::Ntlm, Scheme::Basic], Duration::from_secs(1), "Basic realm=\"x\"").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_try_that_ends_does_not_let_two_at_once() {
    let account = account(&[Scheme::Basic]);
    let late = begin(&account).await;
    let _second = begin(&account).await;
    let start = tokio::time::Instant::now();
    drop(late);
    begin(&account).await;
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_407_without_a_challenge_refuses_too() {
    assert_eq!(storm(&[Scheme::Basic], Duration::from_millis(50), "").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_went_through_without_credentials_proves_none() {
    let account = account(&[Scheme::Digest, Scheme::Basic]);
    let mut exempt = begin(&account).await;
    assert_eq!(say(&mut exempt, &[]).await, Ok(None));
    exempt.accepted();
    let mut first = begin(&account).await;
    let mut second = begin(&account).await;
    assert_eq!(say(&mut first, &[]).await, Ok(None));
    assert_eq!(say(&mut second, &[]).await, Ok(None));
    assert!(say(&mut first, &["Basic realm=\"x\""]).await.is_ok_and(|said| said.is_some()));
    let waiting = tokio::spawn(async move { say(&mut second, &["Basic realm=\"x\""]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(say(&mut first, &["Basic realm=\"x\""]).await, Err(Refusal::Wrong(_))));
    assert!(matches!(waiting.await.expect("no panic"), Err(Refusal::Held { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_refusal_is_held_too() {
    let account = account(&[Scheme::Basic]);
    let mut proven = begin(&account).await;
    say(&mut proven, &[]).await.expect("credentials");
    proven.accepted();
    let mut other = begin(&account).await;
    say(&mut proven, &[]).await.expect("credentials");
    assert!(matches!(say(&mut proven, &["Basic realm=\"x\""]).await, Err(Refusal::Wrong(_))));
    assert!(matches!(say(&mut other, &[]).await, Err(Refusal::Held { .. })));
}

#[tokio::test(start_paused = true)]
async fn holds_grow_and_end_with_one_try_at_a_time() {
    let account = account(&[Scheme::Basic]);
    for minutes in [1, 2, 4, 8, 15, 15] {
        let mut conversation = begin(&account).await;
        say(&mut conversation, &[]).await.expect("credentials");
        if minutes > 1 {
            assert!(matches!(account.begin(&proxy(), "p").await, Err(Refusal::Held { .. })), "{minutes}");
        }
        assert!(matches!(say(&mut conversation, &["Basic realm=\"x\""]).await, Err(Refusal::Wrong(_))));
        let hold = Duration::from_secs(minutes * 60);
        assert_eq!(account.held(), Some(hold));
        tokio::time::advance(hold - Duration::from_millis(1)).await;
        assert!(matches!(account.begin(&proxy(), "p").await, Err(Refusal::Held { .. })), "{minutes}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(account.held(), None);
    }
    let mut conversation = begin(&account).await;
    say(&mut conversation, &[]).await.expect("credentials");
    conversation.accepted();
    begin(&account).await;
    begin(&account).await;
}

/// What is logged while it lives, on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_hold_and_its_end_is_one_line() {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
    // while there is but one subscriber, another test that comes to a line first teaches it that nobody listens
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || to.clone()).finish());
    let account = account(&[Scheme::Basic]);
    let mut known = begin(&account).await;
    say(&mut known, &[]).await.expect("credentials");
    known.accepted();
    // the password is changed while many are under way
    let mut many = Vec::new();
    for _ in 0..20 {
        let mut conversation = begin(&account).await;
        say(&mut conversation, &[]).await.expect("credentials");
        many.push(conversation);
    }
    for conversation in &mut many {
        assert!(matches!(say(conversation, &["Basic realm=\"x\""]).await, Err(Refusal::Wrong(_))));
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    let mut again = begin(&account).await;
    say(&mut again, &[]).await.expect("credentials");
    assert!(matches!(say(&mut again, &["Basic realm=\"x\""]).await, Err(Refusal::Wrong(_))));
    tokio::time::advance(Duration::from_secs(120)).await;
    for _ in 0..2 {
        let mut good = begin(&account).await;
        say(&mut good, &[]).await.expect("credentials");
        good.accepted();
    }
    let why =
        "upstream corp: credentials refused by http://proxy.example:3128: user Mufasa by basic; no more tries for";
    let wanted = format!(" WARN {why} 1m\n WARN {why} 2m\n INFO upstream corp: credentials are accepted again\n");
    let logged = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(logged, wanted);
}

#[tokio::test]
async fn a_realm_beyond_ascii_hides_no_challenge() {
    let asked: [&[u8]; 1] = [b"Digest realm=\"f\xfcr\", nonce=\"n\", qop=\"auth\", Basic realm=\"f\xfcr alle\""];
    let account = account(&[Scheme::Digest, Scheme::Basic]);
    let said = begin(&account).await.answer("CONNECT", "a.example:443", &asked).await;
    // what a digest of this realm would be nobody knows
    assert_eq!(said.expect("Basic is offered").expect("credentials").as_str(), BASIC);
}

#[tokio::test]
async fn a_scheme_that_is_not_offered_was_not_refused() {
    let account = account(&[Scheme::Basic, Scheme::Ntlm]);
    let mut first = begin(&account).await;
    assert_eq!(say(&mut first, &["Basic realm=\"x\""]).await, Ok(Some(BASIC.to_owned())));
    first.accepted();
    let mut elsewhere = begin(&account).await;
    assert_eq!(say(&mut elsewhere, &[]).await, Ok(Some(BASIC.to_owned())));
    let said = say(&mut elsewhere, &["NTLM"]).await.expect("another scheme").expect("another scheme");
    assert!(said.starts_with("NTLM "), "{said}");
    assert_eq!(account.held(), None);
}

#[tokio::test]
async fn a_connection_that_is_asked_again_begins_anew_once() {
    let account = account(&[Scheme::Ntlm]);
    let mut ntlm = begin(&account).await;
    say(&mut ntlm, &[]).await.expect("type 1");
    let type_2 = format!("NTLM {}", BASE64_STANDARD.encode(TYPE_2));
    assert!(say(&mut ntlm, &[&type_2]).await.is_ok_and(|said| said.is_some()));
    ntlm.accepted();
    assert_eq!(say(&mut ntlm, &[]).await, Ok(None));
    let said = say(&mut ntlm, &["NTLM"]).await.expect("type 1").expect("type 1");
    assert!(said.starts_with("NTLM TlRMTVNTUAABAAAA"), "{said}");
    assert!(say(&mut ntlm, &[&type_2]).await.is_ok_and(|said| said.is_some()));
    assert!(matches!(say(&mut ntlm, &["NTLM"]).await, Err(Refusal::Wrong(_))));
}

#[tokio::test(start_paused = true)]
async fn of_many_that_speak_ntlm_at_once_one_proves_a_wrong_password() {
    let account = account(&[Scheme::Ntlm]);
    let type_2 = format!("NTLM {}", BASE64_STANDARD.encode(TYPE_2));
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (account, type_2) = (account.clone(), type_2.clone());
        tries.spawn(async move {
            let mut conversation = account.begin(&proxy(), "p").await?;
            for asked in [&[][..], &[&*type_2], &["NTLM"]] {
                say(&mut conversation, asked).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok::<_, Refusal>(())
        });
    }
    let start = tokio::time::Instant::now();
    let outcomes = tries.join_all().await;
    assert_eq!(outcomes.iter().filter(|o| matches!(o, Err(Refusal::Wrong(_)))).count(), 1);
    assert_eq!(outcomes.iter().filter(|o| matches!(o, Err(Refusal::Held { .. }))).count(), 29);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    // where nobody wants to see a proof, there is none, and nobody waits
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..3 {
        let mut exempt = begin(&account).await;
        say(&mut exempt, &[]).await.expect("type 1");
        exempt.answered(200);
    }
    let mut first = begin(&account).await;
    say(&mut first, &[]).await.expect("type 1");
    say(&mut first, &[&type_2]).await.expect("type 3");
    assert!(matches!(account.begin(&proxy(), "p").await, Err(Refusal::Held { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_asks_nobody_keeps_nobody_waiting() {
    for schemes in [&[Scheme::Ntlm][..], &[Scheme::Digest], &[Scheme::Basic, Scheme::Ntlm]] {
        let account = account(schemes);
        let mut first = begin(&account).await;
        say(&mut first, &[]).await.expect("no credentials");
        first.answered(200);
        let start = tokio::time::Instant::now();
        let mut open = Vec::new();
        for _ in 0..10 {
            let mut conversation = begin(&account).await;
            say(&mut conversation, &[]).await.expect("no credentials");
            open.push(conversation);
        }
        assert!(start.elapsed().is_zero(), "{schemes:?}");
    }
}

/// A challenge without any of what a proxy may tell of itself.
const TYPE_2: &[u8] = b"NTLMSSP\0\x02\0\0\0\0\0\0\0\x38\0\0\0\x01\x02\x08\0\x01\x23\x45\x67\x89\xab\xcd\xef\
    \0\0\0\0\0\0\0\0\0\0\0\0\x38\0\0\0\x0a\0\x61\x4a\0\0\0\x0f";
