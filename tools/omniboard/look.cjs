// What a person does in Omniboard, in a browser without a window; every look is kept as a picture.
// node look.cjs ADDRESS FOLDER RUN: prints as JSON what was seen and how long it took.
const { chromium } = require("playwright-core");

const [address, folder, run] = process.argv.slice(2);
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"];
const row = ".public_fixedDataTable_bodyRow";
const seen = { outside: [] };

async function tab(page, name) {
  await page.getByRole("button", { name, exact: true }).click();
  await page.waitForTimeout(1500);
  await page.screenshot({ path: `${folder}/${name.toLowerCase().replaceAll(" ", "-")}.png` });
  return page.evaluate(() => document.body.innerText);
}

async function look() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: flags });
  const page = await browser.newPage({ viewport: { width: 1500, height: 820 } });
  page.on("request", (request) => {
    const host = new URL(request.url()).hostname;
    if (host && host !== "127.0.0.1") seen.outside.push(request.url());
  });
  let started = Date.now();
  await page.goto(address);
  await page.waitForSelector(row);
  seen.first_page_ms = Date.now() - started;
  await page.waitForTimeout(1500);
  await page.screenshot({ path: `${folder}/runs.png` });
  seen.table = await page.evaluate(() => document.body.innerText);
  // Only the rows in sight are in the page: among many runs the wanted one may not be there.
  const wanted = page.locator(row, { hasText: run }).first();
  const found = (await wanted.count()) ? wanted : page.locator(row).first();
  await found.getByText("/").first().click();
  await page.waitForSelector(".js-plotly-plot .scatterlayer .trace");
  seen.curves = await page.locator(".js-plotly-plot .scatterlayer .trace").count();
  for (const name of ["Metrics Plot", "Captured Out", "Artifacts", "Config"]) seen[name] = await tab(page, name);
  await browser.close();
}

look().then(
  () => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
