//! An image from a text, by a Stable Diffusion folder or its name in the local cache of the hub.
//!
//! ```text
//! cargo run --release --example text_to_image -- stable-diffusion-v1-5/stable-diffusion-v1-5 "a cat" cat.png
//! ```

use downhill::{CompileOptions, Compiler, Engine, Error, Event, Model, Options, Precision};

fn main() -> downhill::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err(Error::argument("no model or no text", "text_to_image MODEL TEXT [FILE.png]"));
    };
    let output = arguments.next().unwrap_or_else(|| "image.png".to_owned());
    let engine = Engine::open(&Options::default())?;
    let options = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
    let sampling = Model::open(&name)?.sampling().prompt(text).steps(20).seed(1).observe(|event| {
        match event {
            Event::Begun { part, detail } => eprintln!("{part} {detail} ..."),
            Event::Done { part, detail } => eprintln!("{part} {detail}"),
            Event::Step { progress, .. } => eprintln!("step {}: {}", progress.index + 1, progress.step.to),
        }
        Ok(())
    });
    sampling.save(Compiler::new(&engine, options), &output).map(drop)
}
