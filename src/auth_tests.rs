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
