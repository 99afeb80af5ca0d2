//! Runs the in-process measurement: `flow_bench [FIXES] [DRIVERS] [WORKERS]`.

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| arguments.next().and_then(Result::ok).unwrap_or(default);
    let (fixes, drivers, workers) = (next(2_000_000), next(100_000), next(2));
    match inzira_flow::bench::in_process(fixes, drivers, workers) {
        Ok(figures) => {
            println!("{figures:#?}");
            println!(
                "bench=flow fixes_per_s_core={:.0} bytes_per_driver={:.0} checksum={:016x}",
                figures.fixes_per_s_core, figures.bytes_per_driver, figures.checksum
            );
            if figures.positions != figures.fixes as u64 {
                std::process::exit(1);
            }
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
