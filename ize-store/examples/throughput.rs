//! Ad hoc measure.
use ize_core::conformance::LogBuilder;
use ize_core::model::*;
use ize_core::storage::*;
use ize_store::*;
use std::time::Instant;
fn main() {
    for engine in Engine::ALL {
        let dir = tempfile::tempdir_in("/work/target").unwrap();
        let path = dir.path().join("s");
        let options = StoreOptions::default().engine(*engine);
        let store = Store::create(&path, &options).unwrap();
        let mut log = LogBuilder::new();
        let files: Vec<FileId> = (0..1000).map(|n| log.create(FileId::ROOT, format!("file-{n}"))).collect();
        log.commit(&store).unwrap();
        let mut seed = 1u64;
        let mut rnd = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for (name, size, batch, total) in [
            ("small 100B", 100usize, 1000usize, 100_000usize),
            ("4KiB", 4096, 1000, 20_000),
            ("4KiB/batch10", 4096, 10, 1000),
            ("64KiB", 65536, 100, 2000),
        ] {
            let mut spent = std::time::Duration::ZERO;
            let mut done = 0;
            while done < total {
                for _ in 0..batch {
                    let mut data = vec![b'x'; size];
                    for word in data.chunks_mut(32) {
                        word[..4].copy_from_slice(&(rnd() as u32).to_be_bytes());
                    }
                    let file = files[(rnd() % 1000) as usize];
                    let offset = (rnd() % 256) * 4096;
                    log.write(file, offset, &data);
                }
                let ops = log.take();
                let start = Instant::now();
                store.commit(&Batch { ops, landmarks: vec![] }).unwrap();
                spent += start.elapsed();
                done += batch;
            }
            println!(
                "{engine} {name}: {:.0} ops/s, {:.1} MB/s",
                total as f64 / spent.as_secs_f64(),
                (total * size) as f64 / 1e6 / spent.as_secs_f64()
            );
        }
        for n in 0..100_000 {
            log.create(files[0].max(FileId::ROOT).min(FileId::ROOT), format!("n-{n}"));
            if n % 2000 == 1999 {
                let ops = log.take();
                let s = Instant::now();
                store.commit(&Batch { ops, landmarks: vec![] }).unwrap();
                if n % 20000 == 19999 {
                    println!("create batch 2000: {:.0} ops/s", 2000.0 / s.elapsed().as_secs_f64());
                }
            }
        }
        let info = store.info().unwrap();
        println!("{:?}", info.sizes);
        let start = Instant::now();
        let view = View::latest(BranchId::MAIN);
        let mut buf = vec![0; 1 << 20];
        let mut bytes = 0;
        for file in &files {
            bytes += store.read(view, *file, 0, &mut buf).unwrap();
        }
        println!("read {:.0} MB/s", bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        let mut after = None;
        let mut count = 0;
        loop {
            let page = store.entries(view, FileId::ROOT, after.as_ref(), 1000).unwrap();
            count += page.len();
            if page.len() < 1000 {
                break;
            }
            after = page.last().map(|e| e.name.clone());
        }
        println!("list {count} in {:?}", start.elapsed());
        let start = Instant::now();
        let mut q = OpQuery::all(view);
        let mut count = 0;
        loop {
            let page = store.ops(&q).unwrap();
            count += page.len();
            match page.last() {
                Some(op) => q.since = op.last_id,
                None => break,
            }
        }
        println!("ops {count} in {:?}", start.elapsed());
        let head = store.head().unwrap().op;
        drop(store);
        let start = Instant::now();
        Store::rebuild_index(&path, &options, &mut |f| println!("{f:?}")).unwrap();
        println!("rebuild {:.0} ops/s", head.get() as f64 / start.elapsed().as_secs_f64());
        let store = Store::open(&path, &options).unwrap();
        println!("{:?}", store.info().unwrap().sizes);
    }
}
