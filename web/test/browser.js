// A headless Chromium with WebGPU on a software adapter, and a watch over its pages.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

export const WEB = dirname(dirname(fileURLToPath(import.meta.url)));
export const ROOT = dirname(WEB);

/** A path prefix as on a host of several sites. */
export const PREFIX = "/some/prefix/play/";

const GPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  "--disable-vulkan-surface",
];

/** SwiftShader spends half of its time on zeros in workgroup memory, which the kernels overwrite. */
const WITHOUT_ZEROS = "--enable-dawn-features=disable_workgroup_init";

/**
 * Starts the browser.
 *
 * @param {{gpu?: boolean, zeros?: boolean}} options `gpu: false` for a browser without WebGPU, `zeros: true` for one that
 *   fills workgroup memory with zeros, as those of visitors do
 */
export function launch({ gpu = true, zeros = false } = {}) {
  return puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    headless: true,
    protocolTimeout: 600_000,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--lang=en", ...(gpu ? GPU : []), ...(zeros ? [] : [WITHOUT_ZEROS])],
  });
}

/**
 * Opens a page, and records messages of the console that tell of faults, and requests to elsewhere.
 *
 * @param {import("puppeteer-core").Browser} browser
 * @param {string} address
 * @param {(page: import("puppeteer-core").Page) => Promise<void>} [before] called before the page is loaded
 * @returns {Promise<{page: import("puppeteer-core").Page, faults: string[]}>}
 */
export async function open(browser, address, before = async () => {}) {
  const page = await browser.newPage();
  const faults = [];
  const { origin } = new URL(address);
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) faults.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("requestfailed", (request) => faults.push(`failed: ${request.url()}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && !["data:", "blob:"].includes(url.protocol)) faults.push(`elsewhere: ${url.href}`);
  });
  await before(page);
  await page.goto(address);
  return { page, faults };
}

/** Waits until the words of an element match. */
export async function says(page, selector, pattern, timeout = 300_000) {
  await page.waitForFunction(
    (where, source) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""),
    { timeout, polling: 100 },
    selector,
    pattern.source,
  );
  return page.$eval(selector, (element) => element.textContent);
}
