//! deploy/Containerfile, as far as it can be looked at where nothing builds images: its words, and its paths.

use std::path::Path;

const FILE: &str = "deploy/Containerfile";
/// What scripts of deploy/ leave, below the folder in which they are run.
const BUILT: [(&str, &str); 3] =
    [("static", "target/static/handyproxy"), ("static", "target/static/copyright"), ("package", "target/debian/")];

#[test]
fn every_path_of_the_images_is_there_or_built_before() {
    let text = std::fs::read_to_string(FILE).expect(FILE).replace("\\\n", " ");
    let mut stages: Vec<String> = Vec::new();
    let (mut copied, mut taken) = (0, 0);
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "FROM" => {
                let base = words[1];
                assert!(base == "scratch" || base.contains('/') || stages.contains(&base.to_owned()), "{line}");
                stages.push(if words.get(2) == Some(&"AS") { words[3] } else { "" }.to_owned());
            }
            "COPY" => {
                let Some(from) = words[1].strip_prefix("--from=") else {
                    for source in &words[1..words.len() - 1] {
                        assert!(Path::new(source).exists(), "{line}: there is no {source}");
                        copied += 1;
                    }
                    continue;
                };
                assert!(stages.contains(&from.to_owned()), "{line}: there is no stage {from}");
                if let Some(path) = words[2].strip_prefix("/src/") {
                    assert!(BUILT.contains(&(from, path)), "{line}: nobody builds {path}");
                    taken += 1;
                }
            }
            "RUN" => {
                for script in words.iter().filter(|word| word.starts_with("deploy/")) {
                    assert!(Path::new(script).exists(), "{line}: there is no {script}");
                }
            }
            known => assert!(["WORKDIR", "USER", "CMD", "ENTRYPOINT"].contains(&known), "{line}"),
        }
    }
    assert!(copied > 6 && taken == BUILT.len(), "{copied} {taken}");
    assert_eq!(stages, ["build", "static", "package", "gateway", ""]);
}

/// What cargo needs of the repository is among what the images are given.
#[test]
fn the_images_are_given_all_that_a_build_needs() {
    let text = std::fs::read_to_string(FILE).expect(FILE);
    let needed = ["Cargo.toml", "Cargo.lock", "src", "benches", "man", "iptables", "deploy"];
    for name in needed {
        assert!(text.lines().any(|line| line.starts_with("COPY ") && line.split(' ').any(|w| w == name)), "{name}");
    }
}
