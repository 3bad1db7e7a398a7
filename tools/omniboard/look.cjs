// What a person does in Omniboard, in a browser without a window; every look is kept as a picture.
// node look.cjs ADDRESS FOLDER NAME=VALUE...: opens the first run with these fields of its config; prints as JSON what
// was seen and how long it took.
const http = require("http");
const { chromium } = require("playwright-core");

const [address, folder, ...wanted] = process.argv.slice(2);
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"];
const row = ".public_fixedDataTable_bodyRow";
const seen = { outside: [] };

async function tab(page, name) {
  await page.getByRole("button", { name, exact: true }).click();
  await page.waitForTimeout(1500);
  await page.screenshot({ path: `${folder}/${name.toLowerCase().replaceAll(" ", "-")}.png` });
  return page.evaluate(() => document.body.innerText);
}

// Names of the columns whose headers are wholly within the window.
function headers(page) {
  return page.locator("[test-attr^=header-sort-]").evaluateAll((all) =>
    all
      .filter((each) => each.closest(".public_fixedDataTableCell_main").getBoundingClientRect().right <= innerWidth)
      .map((each) => each.getAttribute("test-attr").replace("header-sort-", "")),
  );
}

// Texts of a column's cells in sight: cells do not name their column, but stand below its header.
function cells(page, name) {
  return page.evaluate(
    ([name, row]) => {
      const cell = ".public_fixedDataTableCell_main";
      const left = (each) => Math.round(each.getBoundingClientRect().left);
      const place = left(document.querySelector(`[test-attr="header-sort-${name}"]`).closest(cell));
      const all = [...document.querySelectorAll(`${row} ${cell}`)].filter((each) => left(each) === place);
      return all.sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).map((each) => each.innerText);
    },
    [name, row],
  );
}

// The table is gone while it loads; its rows come back when the count has come, too.
async function reloaded(page, action) {
  const answered = page.waitForResponse((answer) => answer.url().includes("/Runs/count"));
  await action();
  await answered;
  await page.waitForSelector(row);
}

async function choose(page, place, text) {
  await page.locator(`${place} input`).fill(text);
  await page.locator(`${place} [id*=-option-]`).getByText(text, { exact: true }).first().click();
}

async function filter(page, name, value) {
  await choose(page, ".filter-name", `C ${name[0].toUpperCase()}${name.slice(1)}`);
  await choose(page, ".filter-value", value);
  await reloaded(page, () => page.locator("#add_filter").click());
}

// What a page of another origin gets that tries to read all runs and to delete one; and how many there are afterwards.
async function attack(browser) {
  const server = http.createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<p>elsewhere</p>"));
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const page = await browser.newPage();
  const runs = `${address}/api/v1/Runs`;
  const own = async () => (await (await page.request.get(runs)).json()).map((run) => run._id);
  const [first, ...others] = await own();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const ask = (method, url) =>
    page.evaluate(([method, url]) => fetch(url, { method }).then((answer) => answer.status, () => "refused"), [method, url]);
  const got = { read: await ask("GET", runs), deleted: await ask("DELETE", `${runs}/${first}`) };
  const left = await own();
  server.close();
  return { ...got, lost: [first, ...others].filter((id) => !left.includes(id)) };
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
  seen.headers = await headers(page);
  started = Date.now();
  await reloaded(page, () => page.locator('[test-attr="header-sort-c_final_train_loss"]').click());
  seen.sorting_ms = Date.now() - started;
  seen.losses = await cells(page, "c_final_train_loss");
  for (const each of wanted) await filter(page, ...each.split("="));
  await page.screenshot({ path: `${folder}/filtered.png` });
  seen.opened = await page.locator(row).first().innerText();
  await page.locator(row).first().getByText("/").first().click();
  await page.waitForSelector(".js-plotly-plot .scatterlayer .trace");
  seen.curves = await page.locator(".js-plotly-plot .scatterlayer .trace").count();
  for (const name of ["Metrics Plot", "Captured Out", "Artifacts", "Config"]) seen[name] = await tab(page, name);
  // What a person has arranged stays.
  await page.locator("[test-attr=header-sort-c_seed]").hover();
  await page.locator("[test-attr=header-sort-close-c_seed]").click();
  await page.reload();
  await page.waitForSelector(row);
  seen.kept = await headers(page);
  seen.attack = await attack(browser);
  await browser.close();
}

look().then(
  () => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
