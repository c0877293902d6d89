use super::*;
use crate::vault::testing::TestVault;

fn dir(t: &TestVault, ino: u64) -> Dir {
    let fd = std::fs::File::open(t.tree()).unwrap().into();
    t.vault.tree.make_dir(fd, Ino(ino), || DirId([7; 16])).unwrap()
}

#[test]
fn what_was_loaded_before_a_record_changed_is_not_cached() {
    let t = TestVault::new();
    let cache = &t.vault.tree.dirs;
    let before = cache.epoch.load(Ordering::SeqCst);
    let loaded = dir(&t, 1000);
    cache.invalidate(Ino(2000));
    assert!(cache.insert(loaded, before).is_none());
    assert!(cache.get(Ino(1000)).is_none());
    let now = cache.epoch.load(Ordering::SeqCst);
    let first = cache.insert(dir(&t, 1000), now).unwrap();
    let second = cache.insert(dir(&t, 1000), now).unwrap();
    assert!(Arc::ptr_eq(&first, &second), "one that is cached stays");
    cache.invalidate(Ino(1000));
    assert!(cache.get(Ino(1000)).is_none());
}

#[test]
fn the_longest_unused_go_first() {
    let t = TestVault::new();
    let cache = DirCache::new(dir(&t, 1), 3 * SHARDS);
    let shard = |ino: u64| std::ptr::from_ref(cache.shard(Ino(ino)));
    // Of one shard, which holds three.
    let inos: Vec<u64> = (100..).filter(|ino| shard(*ino) == shard(100)).take(4).collect();
    for ino in &inos[..3] {
        cache.insert(dir(&t, *ino), 0).unwrap();
    }
    assert!(cache.get(Ino(inos[0])).is_some());
    cache.insert(dir(&t, inos[3]), 0).unwrap();
    let cached: Vec<bool> = inos.iter().map(|ino| cache.get(Ino(*ino)).is_some()).collect();
    assert_eq!(cached, [true, false, true, true]);
    for _ in 0..3 {
        cache.shrink();
    }
    assert!(inos.iter().all(|ino| cache.get(Ino(*ino)).is_none()));
    assert!(cache.get(Ino::ROOT).is_some(), "the root stays");
}
