//! Replies may be much longer than requests: a status names all keys.

use super::super::server::send_answer;
use super::*;

#[test]
fn a_reply_may_be_longer_than_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = server(dir.path());
    // 3 bytes each in the request, 5 in the reply.
    let paths = vec![String::new(); 300_000];
    assert!(paths.len() * 5 > MAX_REQUEST);
    let names = client(&server.socket(), me()).plain_names(&paths).unwrap();
    assert_eq!(names.len(), paths.len());
}

#[test]
fn an_answer_that_is_too_long_is_refused_in_words() {
    let reply = Reply::PlainNames { names: vec![None; 300] };
    let mut sent = Vec::new();
    send_answer(&mut sent, &reply, 600).unwrap();
    let line = LineReader::new(&sent[..], 600).next_line().unwrap();
    let Reply::Refused(error) = decode::<Reply>(&line).unwrap() else { panic!("{line:?}") };
    assert_eq!(error.kind, ErrorKind::Other);
    assert!(error.message.contains("over 600 bytes"), "{error:?}");
    sent.clear();
    send_answer(&mut sent, &reply, 6000).unwrap();
    let line = LineReader::new(&sent[..], 6000).next_line().unwrap();
    assert_eq!(decode::<Reply>(&line).unwrap(), reply);
}
