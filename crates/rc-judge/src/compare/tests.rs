use super::*;

/// Pairs whose noise is 10 % and shared drift of the machine, with a head that takes `ratio` times as long.
fn pairs(draw: &mut fastrand::Rng, count: usize, ratio: f64) -> Vec<Pair> {
    let mut machine = 1.0;
    (0..count)
        .map(|_| {
            machine *= 1.0 + 0.1 * (draw.f64() - 0.5);
            let mut noise = || machine * (1.0 + 0.1 * (draw.f64() - 0.5));
            let base = noise();
            Pair {
                base,
                head: noise() * ratio,
            }
        })
        .collect()
}

/// The first decision while pairs are added one by one.
fn sequence(all: &[Pair], budget: f64) -> (Speed, usize) {
    for count in 1..=all.len() {
        let comparison = compare(&all[..count], budget, 0.01).unwrap();
        if comparison.speed != Speed::Undecided {
            return (comparison.speed, count);
        }
    }
    (Speed::Undecided, all.len())
}

#[test]
fn a_head_at_its_budget_is_called_slower_in_one_of_a_hundred_at_most() {
    let mut draw = fastrand::Rng::with_seed(7);
    let slower = (0..2_000)
        .filter(|_| sequence(&pairs(&mut draw, 100, 1.05), 1.05).0 == Speed::Slower)
        .count();
    assert!(
        slower <= 20,
        "{slower} of 2000, looked at after each of 100 pairs"
    );
}

#[test]
fn a_tenth_more_is_found_in_few_pairs_and_nothing_more_passes() {
    let mut draw = fastrand::Rng::with_seed(8);
    for _ in 0..200 {
        let (speed, count) = sequence(&pairs(&mut draw, 200, 1.15), 1.05);
        assert_eq!(speed, Speed::Slower);
        assert!(count >= 9, "nine coins are the least that can decide: {count}");
        assert_eq!(sequence(&pairs(&mut draw, 200, 1.0), 1.05).0, Speed::WithinBudget);
    }
}

#[test]
fn samples_that_are_no_times_are_refused() {
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let pair = Pair {
            base: 1.0,
            head: value,
        };
        compare(&[pair], 1.05, 0.01).unwrap_err();
    }
    compare(&[], 0.0, 0.01).unwrap_err();
    compare(&[], 1.0, 1.0).unwrap_err();
    assert_eq!(compare(&[], 1.0, 0.01).unwrap().speed, Speed::Undecided);
}

#[test]
fn equal_samples_speak_for_neither() {
    let same = [Pair { base: 1.0, head: 1.0 }; 1_000];
    assert_eq!(compare(&same, 1.0, 0.01).unwrap().speed, Speed::Undecided);
}
