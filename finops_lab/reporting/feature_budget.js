// The plan's formula again, as in finops_lab/planning: point estimates in exact decimals (BigInt), the
// simulation in doubles with the same operations in the same order, from the same streams of chance.
const plan = JSON.parse(document.getElementById("plan").textContent);
const COMPONENTS = ["input", "cached_input", "output", "calls", "training", "capacity"];
const byId = Object.fromEntries(plan.drivers.map(driver => [driver.id, driver]));

// --- exact decimals: {n, e} is n / 10^e -----------------------------------------------------------
const TEN = 10n, tens = e => TEN ** BigInt(e);
const exact = text => {
  const [, sign, whole, part = ""] = /^(-?)(\d*)(?:\.(\d*))?$/.exec(text);
  return { n: BigInt(sign + whole + part), e: part.length };
};
const times = (...all) => all.reduce((a, b) => ({ n: a.n * b.n, e: a.e + b.e }));
const align = (a, e) => a.n * tens(e - a.e);
const plus = (a, b) => { const e = Math.max(a.e, b.e); return { n: align(a, e) + align(b, e), e }; };
const minus = (a, b) => plus(a, { n: -b.n, e: b.e });
const ONE = { n: 1n, e: 0 }, whole = n => ({ n: BigInt(n), e: 0 });
const write = a => {
  const digits = (a.n < 0n ? -a.n : a.n).toString().padStart(a.e + 1, "0");
  const text = a.e ? `${digits.slice(0, -a.e)}.${digits.slice(-a.e)}` : digits;
  return (a.n < 0n ? "-" : "") + text;
};
const trim = text => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
function halfEven(n, d) {  // n / d as a whole number
  if (d < 0n) { n = -n; d = -d; }
  let q = n / d, r = n % d;
  if (r < 0n) { r += d; q -= 1n; }
  const twice = 2n * r;
  return q + (twice > d || (twice === d && q % 2n !== 0n) ? 1n : 0n);
}
const money = (a, by = 1n) => halfEven(a.n * tens(18), tens(a.e) * by);  // in 1e-18 USD, rounded once

function point(model, value) {
  let growth = ONE, years = ONE;
  const change = value("price_change_per_year");
  return plan.days.map((days, m) => {
    if (m && m % 12 === 0) years = times(years, plus(ONE, change));
    const prices = times(years, plus(whole(12), times(change, whole(m % 12))));  // twelve times the prices
    const share = exact(plan.adoption[m][1]), rates = model.rates[m].map(exact);
    let sessions = null, calls;
    if (model.drivers.sessions_per_day) {
      sessions = times(value("sessions_per_day"), whole(days), share, growth);
      calls = times(sessions, value("calls_per_session"));
    } else calls = times(value("calls_per_second"), whole(86400), whole(days), share, growth);
    const tokens = times(calls, value("input_tokens"), exact(model.factors[0]));
    const cached = times(tokens, value("cache_hit_share"));
    const written = times(minus(tokens, cached), value("cache_write_share"));
    const plain = minus(minus(tokens, cached), written);
    const made = times(calls, value("output_tokens"), exact(model.factors[1]));
    const fresh = plus(times(plain, rates[0]), times(written, rates[2]));
    const millionth = a => ({ n: a.n, e: a.e + 6 });
    let training = whole(0), capacity = whole(0);
    for (const [name, launch] of model.training) {
      let runs = value(`training.${name}.runs_per_month`);
      if (!m) runs = plus(runs, exact(launch));
      training = plus(training, times(runs, value(`training.${name}.usd_per_run`)));
    }
    for (const [name, hours] of model.capacity) {
      const used = times(value(`capacity.${name}.gpu_count`), exact(hours), whole(days));
      capacity = plus(capacity, times(used, value(`capacity.${name}.rate_usd_per_gpu_hour`)));
    }
    growth = times(growth, plus(ONE, value("growth_per_month")));
    const amounts = [
      money(millionth(times(fresh, prices)), 12n), money(millionth(times(cached, rates[1], prices)), 12n),
      money(millionth(times(made, rates[3], prices)), 12n), money(times(calls, rates[4], prices), 12n),
      money(training), money(capacity),
    ];
    return { total: amounts.reduce((a, b) => a + b), calls, sessions };
  });
}

// --- chance ---------------------------------------------------------------------------------------
const MASK = (1n << 128n) - 1n, MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const drawn = {};
function evenly(key) {  // PCG64 (O'Neill 2014) as NumPy has it: XSL-RR, 53 bits of each draw
  if (drawn[key]) return drawn[key];
  let state = BigInt(plan.streams[key][0]);
  const inc = BigInt(plan.streams[key][1]), found = new Float64Array(plan.draws);
  for (let n = 0; n < plan.draws; n++) {
    state = (state * MULTIPLIER + inc) & MASK;
    const turn = state >> 122n, mixed = BigInt.asUintN(64, (state >> 64n) ^ state);
    const out = BigInt.asUintN(64, (mixed >> turn) | (mixed << ((64n - turn) & 63n)));
    found[n] = Number(out >> 11n) / 9007199254740992;
  }
  return drawn[key] = found;
}
function triangular(u, low, likely, high) {
  const span = high - low, left = span * (likely - low), right = span * (high - likely);
  return u.map(x => x * span < likely - low ? low + Math.sqrt(x * left) : high - Math.sqrt((1 - x) * right));
}
const ranges = {};
function ranged(key, low, likely, high) {  // a value for each draw
  if (low === high) return new Float64Array(plan.draws).fill(likely);
  return ranges[[key, low, likely, high].join()] ??= triangular(evenly(key), low, likely, high);
}
const percentile = (sorted, percent) => sorted[Math.max(Math.ceil(sorted.length * percent / 100) - 1, 0)];
const told = values => { const s = values.slice().sort(); return [10, 50, 90].map(p => percentile(s, p)); };

function simulate(model, moved) {
  const N = plan.draws, zeros = () => new Float64Array(N), v = {};
  for (const [key, id] of Object.entries(model.drivers)) {
    const d = byId[id], ends = moved[id] === undefined ? [d.low, d.likely, d.high] : Array(3).fill(moved[id]);
    v[key] = ranged(key, ...ends.map(Number));
  }
  const [fin, fout] = model.factors.map(Number), perSession = Boolean(v.sessions_per_day);
  const runs = model.training.map(([name, launch]) =>
    [v[`training.${name}.runs_per_month`], v[`training.${name}.usd_per_run`], Number(launch)]);
  const pools = model.capacity.map(([name, hours]) =>
    [v[`capacity.${name}.gpu_count`], v[`capacity.${name}.rate_usd_per_gpu_hour`], Number(hours)]);
  const base = perSession ? v.sessions_per_day : v.calls_per_second;
  const growth = new Float64Array(N).fill(1), years = new Float64Array(N).fill(1);
  const sum = zeros(), allCalls = zeros(), allSessions = zeros(), months = [];
  plan.days.forEach((days, m) => {
    const total = zeros(), [rin, rcached, rwritten, rout, rcall] = model.rates[m].map(Number);
    const part = (m % 12) / 12, share = ranged("adoption", ...plan.adoption[m].map(Number));
    for (let n = 0; n < N; n++) {
      const change = v.price_change_per_year[n];
      if (m && m % 12 === 0) years[n] = years[n] * (1 + change);
      const prices = years[n] * (1 + change * part);
      let sessions = 0, calls;
      if (perSession) {
        sessions = base[n] * days * share[n] * growth[n];
        calls = sessions * v.calls_per_session[n];
      } else calls = base[n] * 86400 * days * share[n] * growth[n];
      const tokens = calls * (v.input_tokens[n] * fin), cached = tokens * v.cache_hit_share[n];
      const written = (tokens - cached) * v.cache_write_share[n], plain = tokens - cached - written;
      const made = calls * (v.output_tokens[n] * fout);
      const fresh = plain * rin + written * rwritten;
      let training = 0, capacity = 0;
      for (const [often, usd, launch] of runs) training = training + (m ? often[n] : often[n] + launch) * usd[n];
      for (const [count, rate, hours] of pools) capacity = capacity + count[n] * hours * days * rate[n];
      total[n] = fresh / 1e6 * prices + cached * rcached / 1e6 * prices + made * rout / 1e6 * prices
        + calls * rcall * prices + training + capacity;
      sum[n] = sum[n] + total[n];
      allCalls[n] = allCalls[n] + calls;
      allSessions[n] = allSessions[n] + sessions;
      growth[n] = growth[n] * (1 + v.growth_per_month[n]);
    }
    months.push(told(total));
  });
  const counts = { call: n => allCalls[n], session: n => allSessions[n] };
  counts.customer = n => allSessions[n] / v.sessions_per_customer[n];
  const unit = sum.map((all, n) => all / counts[plan.unit](n));
  const finite = unit.every(Number.isFinite);
  const revenue = plan.revenue === null ? null : Number(plan.revenue);
  return {
    months, whole: told(sum), unit: finite ? told(unit) : null, draws: sum,
    covered: finite && revenue !== null ? unit.reduce((c, x) => c + (x <= revenue), 0) / N : null,
  };
}

// --- words ----------------------------------------------------------------------------------------
const commas = text => text.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
function dollars(units, decimals = 2) {  // of 1e-18 USD
  const cents = halfEven(units, tens(18 - decimals)), text = write({ n: cents < 0n ? -cents : cents, e: decimals });
  const [main, rest] = text.split(".");
  return (cents < 0n ? "-$" : "$") + commas(main) + (rest === undefined ? "" : `.${rest}`);
}
function about(amount, decimals = amount < 1000 ? 2 : 0) {
  const [main, rest] = amount.toFixed(decimals).split(".");
  return "$" + commas(main) + (rest === undefined ? "" : `.${rest}`);
}
const percent = share => `${Math.round(share * 100)}%`;
const put = (id, text) => { document.getElementById(id).textContent = text; };

// --- the page -------------------------------------------------------------------------------------
const moved = {};  // drivers that were moved, as exact text
const chosen = () => plan.models[Number(document.getElementById("model").value)];
const valueOf = model => key => exact(moved[model.drivers[key]] ?? byId[model.drivers[key]].likely);
const sumOf = months => months.reduce((all, month) => all + month.total, 0n);

function perUnit(model, months) {
  const field = plan.unit === "call" ? "calls" : "sessions";
  const count = months.reduce((all, month) => plus(all, month[field]), whole(0));
  if (count.n === 0n) return null;
  const by = plan.unit === "customer" ? valueOf(model)("sessions_per_customer") : ONE;
  return halfEven(sumOf(months) * by.n * tens(count.e), tens(by.e) * count.n);
}

addEventListener("resize", () => later());

function draw() {
  const model = chosen(), months = point(model, valueOf(model)), chance = simulate(model, moved);
  const all = sumOf(months), one = perUnit(model, months), float = Number(all) / 1e18;
  put("total", dollars(all));
  put("now", `${dollars(all)} (P10 ${about(chance.whole[0])}, P90 ${about(chance.whole[2])})`);
  put("low", about(chance.whole[0]));
  put("median", about(chance.whole[1]));
  put("high", about(chance.whole[2]));
  put("above", percent(chance.draws.reduce((c, x) => c + (x > float * (1 + 1e-9)), 0) / plan.draws));
  put("unit-cost", one === null ? "unknown" : dollars(one, plan.decimals));
  put("unit-low", chance.unit ? about(chance.unit[0], plan.decimals) : "unknown");
  put("unit-high", chance.unit ? about(chance.unit[2], plan.decimals) : "unknown");
  if (plan.revenue !== null) put("covered", chance.covered === null ? "unknown" : percent(chance.covered));
  months.forEach((month, m) => {
    put(`month-${m}`, dollars(month.total));
    chance.months[m].forEach((value, n) => put(`month-${m}-${[10, 50, 90][n]}`, about(value)));
  });
  plan.models.forEach((other, n) => {
    if (!other.rates) return;
    const theirs = sumOf(point(other, valueOf(other)));
    put(`model-${n}`, dollars(theirs));
    put(`model-${n}-difference`, other === model ? "chosen" : (theirs > all ? "+" : "") + dollars(theirs - all));
  });
  bars(months.map(month => Number(month.total) / 1e18), chance.months);
}

function bars(points, ends) {
  const chart = document.getElementById("chart"), top = Math.max(...ends.map(e => e[2]), ...points, 1e-9) * 1.05;
  const small = innerWidth < 700, W = 760, H = small ? 320 : 240, left = small ? 96 : 64, bottom = 26, step = (W - left) / points.length;
  const y = amount => (H - bottom) * (1 - amount / top) + 8, parts = [];
  const scale = 10 ** Math.floor(Math.log10(top / 4)), tick = [1, 2, 5, 10].find(k => top / (k * scale) <= 5) * scale;
  for (let at = 0; at <= top; at += tick) {
    const label = about(at, tick < 1 ? 2 : 0);
    parts.push(`<line x1="${left}" x2="${W}" y1="${y(at)}" y2="${y(at)}" class="grid"/>`
      + `<text x="${left - 8}" y="${y(at) + (small ? 7 : 4)}" text-anchor="end">${label}</text>`);
  }
  points.forEach((amount, m) => {
    const x = left + m * step, wide = step * 0.62, middle = x + step / 2;
    parts.push(`<rect x="${x + (step - wide) / 2}" width="${wide}" y="${y(amount)}" height="${y(0) - y(amount)}"/>`
      + `<line x1="${middle}" x2="${middle}" y1="${y(ends[m][0])}" y2="${y(ends[m][2])}" class="span"/>`);
    if (m % Math.ceil(points.length / (small ? 4 : 12)) === 0)
      parts.push(`<text x="${middle}" y="${H + (small ? 12 : 6)}" text-anchor="middle">${plan.names[m]}</text>`);
  });
  chart.innerHTML = `<svg viewBox="0 0 ${W} ${H + 20}" aria-hidden="true">${parts.join("")}</svg>`;
  const last = points.length - 1;
  chart.setAttribute("aria-label", `Bars of ${points.length} months: ${plan.names[0]} ${about(points[0])}, `
    + `${plan.names[last]} ${about(points[last])} with P10 ${about(ends[last][0])} and P90 ${about(ends[last][2])}.`);
}

function shown(driver) {
  const value = moved[driver.id] ?? driver.likely;
  if (driver.percent) return `${trim(write(times(exact(value), whole(100))))}%`;
  const [main, rest] = value.split(".");
  return `${commas(main)}${rest === undefined ? "" : `.${rest}`} ${driver.unit}`;
}
function label(driver) {
  const slider = document.getElementById(driver.id);
  slider.setAttribute("aria-valuetext", shown(driver));
  put(`${driver.id}-value`, shown(driver));
}
function offered() {  // only what the chosen model needs
  const needed = new Set(Object.values(chosen().drivers));
  for (const driver of plan.drivers) document.getElementById(`${driver.id}-row`).hidden = !needed.has(driver.id);
}
let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}
for (const driver of plan.drivers) {
  document.getElementById(driver.id).addEventListener("input", event => {
    const at = Number(event.target.value);
    if (at === driver.start) delete moved[driver.id];
    else moved[driver.id] = trim(write(plus(exact(driver.min), times(exact(driver.step), whole(at)))));
    label(driver);
    later();
  });
}
document.getElementById("model").addEventListener("change", () => { offered(); later(); });
document.getElementById("reset").addEventListener("click", () => {
  document.getElementById("model").value = "0";
  for (const driver of plan.drivers) {
    delete moved[driver.id];
    document.getElementById(driver.id).value = driver.start;
    label(driver);
  }
  offered();
  draw();
});
// A browser may bring back where sliders stood when the page was left: it begins as planned.
document.getElementById("reset").click();
for (const part of document.querySelectorAll("[data-needs-script]")) part.hidden = false;
document.documentElement.dataset.ready = "yes";
