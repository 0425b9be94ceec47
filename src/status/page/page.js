
// The whole picture: every second by an event stream, or asked for every two
// where there is none.

const live = {
    picture: null,          // the last one
    seen: 0,                // when that came
    window: [],             // those of the last ten seconds
    source: null,           // the event stream
    flowing: false,         // it brings pictures
    asking: false,          // for a picture
    wait: 2000,             // until the stream is tried again
    error: null,            // why the last question had no answer
    token: null};

// ------------------------------------------------------------ asking

class Refused extends Error {
    constructor(status, text) {
        super(text);
        this.status = status;
    }
}

async function ask(query, method) {
    const headers = {Accept: 'application/json'};
    if (method === 'POST') {
        headers['X-Academy-Status'] = '1';
    }
    if (live.token) {
        headers.Authorization = 'Bearer ' + live.token;
    }
    const answer = await fetch('?' + query, {
        method: method || 'GET', headers, cache: 'no-store',
        signal: AbortSignal.timeout(15000)});
    if (!answer.ok) {
        const html = /html/.test(answer.headers.get('Content-Type'));
        const text = html ? '' : (await answer.text()).trim();
        throw new Refused(answer.status, text.slice(0, 200));
    }
    return answer.json();
}

// An error in words

function words(error) {
    const text = error.message ? ' The server says: ' + error.message : '';
    switch (error.status) {
    case undefined:
        return error.name === 'TimeoutError'
            ? 'The server takes too long to answer.'
            : 'The server does not answer.';
    case 401:
        return 'The server does not know who you are.';
    case 403:
        return 'You may not do that.' + text;
    case 404:
        return 'There is no such mailbox, or not any more.';
    case 419:
        return 'The mailbox is terminated.';
    case 501:
        return error.message + '.';
    case 503:
        return 'The server cannot answer at present.' + text;
    default:
        return `The server answered with ${error.status}.` + text;
    }
}

// ------------------------------------------------------------ staying live

function live_stream() {
    if (live.source || live.token) {
        return;
    }
    const source = new EventSource('?view=events');
    live.source = source;
    source.addEventListener('message', (event) => {
        if (live.source === source) {
            live.flowing = true;
            live.wait = 2000;
            live_take(JSON.parse(event.data));
        }
    });
    source.addEventListener('error', () => {
        if (live.source === source) {
            live_break();
        }
    });
}

// The browser would try again by itself, but not after every end.

function live_break() {
    if (live.source) {
        live.source.close();
        live.source = null;
    }
    live.flowing = false;
    setTimeout(() => {
        if (!document.hidden) {
            live_stream();
        }
    }, live.wait);
    live.wait = Math.min(live.wait * 2, 60000);
}

async function live_poll() {
    if (live.asking) {
        return;
    }
    live.asking = true;
    try {
        live_take(await ask('format=json'));
    } catch (e) {
        live.error = e;
        live_state();
    }
    live.asking = false;
}

// Every second: a stream that has brought nothing for long is none, whatever
// keeps it back.

function live_tick() {
    if (document.hidden) {
        return;
    }
    const silent = Date.now() - live.seen;
    if (live.source && live.flowing && silent > 6000) {
        live_break();
    }
    if (silent > (live.flowing ? 2800 : 1800)) {
        live_poll();
    }
    live_state();
}

function live_take(picture) {
    live.picture = picture;
    live.seen = Date.now();
    if (live.error) {
        live.error = null;
        live.wait = 2000;
        live_stream();
    }
    const {window} = live;
    const before = window[window.length - 1];
    if (before && (before.started !== picture.started
                   || before.totals.accepted > picture.totals.accepted)) {
        window.length = 0;
    }
    window.push(picture);
    while (window.length > 2 && picture.time - window[0].time > 10.5) {
        window.shift();
    }
    page_show(picture);
    live_state();
}

function live_state() {
    const lost = live.error !== null && Date.now() - live.seen > 3500;
    const [level, text] = lost ? ['bad', 'no connection']
        : live.flowing ? ['good', 'live']
            : live.token ? ['good', 'every 2 seconds']
            : live.seen ? ['warn', 'every 2 seconds'] : ['wait', 'connecting'];
    place('link').dataset.level = level;
    say(place('link'), text);
    place('main').dataset.state = lost ? 'lost'
        : live.picture ? 'live' : 'wait';
    show(place('login'), lost && (live.error.status === 401
        || (live.error.status === 403 && live.token !== null)));
    if (lost) {
        page_lost(live.error);
    }
}

function page_lost(error) {
    const refused = error.status === 401 || error.status === 403;
    head('bad', refused ? 'You may not see this exchange'
        : error.status === 501 ? 'Nothing to see'
            : error.status === undefined ? 'No connection to the exchange'
                : 'The exchange cannot be seen');
    say(place('summary'), words(error) + (live.seen
        ? ` The figures are of ${clock(live.seen / 1000, true)}.` : '')
        + ' Trying again every few seconds.');
}

// ------------------------------------------------------------ how it is

const REASONS = {
    mailbox_messages: 'mailbox has its number of messages',
    mailbox_bytes: 'mailbox has its number of bytes',
    client_mailboxes: 'client has its number of mailboxes',
    shares: 'mailbox has its number of shares',
    memory: 'memory is used up',
    permission: 'not allowed',
    auth: 'not known, or a bad token',
    provider: 'token provider does not answer',
    invalid: 'not understood',
    size: 'message too large',
    missing: 'no such mailbox',
    closed: 'mailbox is terminated',
    unacknowledged: 'receiver owes too many acknowledgements',
    store: 'store does not answer'};

// What is counted, a second, in the last ten

function per_second(pick) {
    const {window} = live;
    const last = window[window.length - 1];
    const passed = window.length > 1 ? last.time - window[0].time : 0;
    return passed > 0
        ? Math.max(pick(last) - pick(window[0]), 0) / passed : 0;
}

function refused(picture, reasons) {
    return reasons.reduce(
        (sum, name) => sum + picture.refusals[name], 0);
}

function quantile(name, part) {
    const {window} = live;
    const last = window[window.length - 1][name].buckets;
    const first = window[0][name].buckets;
    const counts = last.map(([bound, n], i) => [bound, n - first[i][1]]);
    const total = counts[counts.length - 1][1];
    if (total <= 0 || window.length < 2) {
        return null;
    }
    let low = 0;
    let below = 0;
    for (const [bound, n] of counts) {
        if (n >= part * total) {
            return bound === null ? low
                : low + (bound - low) * (part * total - below) / (n - below);
        }
        low = bound;
        below = n;
    }
    return low;
}

function sentence(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}

// What is wrong, the worst first, or that nothing is

function judge(picture) {
    const {zone} = picture;
    const rates = (...reasons) => per_second((p) => refused(p, reasons));
    const serving = picture.workers.filter((worker) => !worker.exiting);
    if (!picture.health.ok) {
        return ['bad', sentence(picture.health.reason)];
    }
    if (serving.length === 0) {
        return ['bad', 'No worker takes requests'];
    }
    if (picture.link && picture.link.connected < picture.link.workers) {
        return ['warn', 'Not every worker has a link to the store'];
    }
    if (rates('memory') > 0) {
        return ['bad', 'Requests are refused: memory is used up'];
    }
    if (rates('store') > 0) {
        return ['bad', 'Requests are refused: the store does not answer'];
    }
    if (rates('provider') > 0) {
        return ['bad', 'Tokens cannot be verified at present'];
    }
    if (zone && zone.size
        && zone.used / (zone.size - zone.reserve) > 0.85) {
        return ['warn', `Memory is filling: ${percent(
            zone.used / (zone.size - zone.reserve))} of it is used`];
    }
    if (rates('mailbox_messages', 'mailbox_bytes') > 0) {
        return ['warn', 'A mailbox is full'];
    }
    if (rates('client_mailboxes') > 0) {
        return ['warn', 'A client has as many mailboxes as it may'];
    }
    return ['good', 'All is well'];
}

function head(level, text) {
    place('headline').dataset.level = level;
    say(place('verdict'), text);
    const colour = {good: '%230f8464', warn: '%23c77d0a',
                    bad: '%23d14434'}[level] || '%238a8f94';
    const icon = 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" '
        + `viewBox="0 0 16 16"><circle cx="8" cy="8" r="6" fill="${colour}"/>`
        + '</svg>';
    if (place('icon').href !== icon) {
        place('icon').href = icon;
    }
}

// What a store does not tell is not in the picture.

function summary({mailboxes, messages}) {
    if (!mailboxes || !known(mailboxes.active)) {
        return 'How many mailboxes and messages there are, the store does not'
            + ' tell.';
    }
    if (mailboxes.active === 0) {
        return 'No agents and no users yet.';
    }
    return `${many(mailboxes.agents, 'agent')} and ${
        many(mailboxes.users, 'user')}, ${messages.queued
        ? many(messages.queued, 'message') + ' waiting'
        : 'no message waiting'}.`;
}

function page_show(picture) {
    head(...judge(picture));
    document.title = picture.exchange + ' \u2013 Academy exchange';
    say(place('name'), picture.exchange);
    say(place('about'), `Academy exchange in ${
        picture.store === 'zone' ? 'shared memory' : sentence(picture.store)
    }, up ${time(Math.max(picture.time - picture.started, 0))}`);
    say(place('summary'), summary(picture));
    page_tiles(picture);
    page_memory(picture);
    page_workers(picture);
    page_refusals(picture);
    page_counters(picture);
    say(place('versions'), `module ${picture.version}, nginx ${picture.nginx}`);
}

function page_tiles(picture) {
    const {messages, workers, refusals} = picture;
    const sum = (name) => workers.reduce((n, worker) => n + worker[name], 0);
    const lost = per_second((p) => refused(p, Object.keys(refusals)));
    const p50 = quantile('latency', 0.5);
    say(place('now-accepted'), rate(per_second((p) => p.totals.accepted)));
    say(place('now-delivered'), rate(per_second((p) => p.totals.delivered)));
    say(place('now-latency'), time(p50));
    say(place('now-p99'), p50 === null ? 'none just now'
        : 'median; p99 ' + time(quantile('latency', 0.99)));
    const queued = messages ? messages.queued : null;
    say(place('now-queued'), count(queued));
    say(place('now-oldest'), !known(queued) ? 'not told by the store'
        : messages.oldest !== null ? 'oldest ' + age(messages.oldest)
            : queued ? '' : 'in no mailbox');
    say(place('now-waiting'), count(sum('polls') + sum('streams')));
    say(place('now-waiters'), `${many(sum('streams'), 'stream')}, ${
        many(sum('polls'), 'poll')}`);
    say(place('now-refused'), rate(lost));
    place('now-refused').dataset.level = per_second((p) => refused(
        p, ['memory', 'store', 'provider'])) > 0 ? 'bad' : 'good';
}

function page_memory(picture) {
    if (picture.zone) {
        zone_show(picture);
        return;
    }
    say(place('memory-title'), sentence(picture.store));
    const {redis, link, messages} = picture;
    if (!place('memory-facts')) {
        place('memory-body').replaceChildren(
            make('dl', {id: 'memory-facts', class: 'facts'}));
    }
    const facts = [
        ['Link', !picture.health.ok ? sentence(picture.health.reason)
            : !link || link.connected === link.workers ? 'connected'
                : `${link.connected} of ${many(link.workers, 'worker')}`],
        ['Round trips a second', rate(per_second((p) => p.redis.round_trips))],
        ['Connections made', count(redis.connects)]];
    if (link) {
        facts.push(
            ['A round trip', micros(quantile('round_trip', 0.5))],
            ['p99 of them', micros(quantile('round_trip', 0.99))],
            ['Under way', count(link.in_flight)]);
    }
    if (link && link.server) {
        facts.push(['Server', link.server]);
    }
    if (messages && known(messages.bytes)) {
        facts.push(['Waiting messages', bytes(messages.bytes)]);
    }
    pairs(place('memory-facts'), facts);
}

function zone_show({zone, ...picture}) {
    if (!place('gauge')) {
        place('memory-body').replaceChildren(
            make('div', {id: 'gauge', class: 'gauge', role: 'img'},
                 ...['used', 'free', 'spare'].map(
                     (name) => make('div', {class: name}))),
            make('div', {id: 'run', class: 'run'}),
            make('dl', {id: 'memory-facts', class: 'facts'}));
    }
    const part = (n) => `${100 * n / zone.size}%`;
    const open = Math.max(zone.free - zone.reserve, 0);
    const spare = Math.min(zone.reserve, zone.free);
    [zone.used, open, spare].forEach((n, i) => {
        place('gauge').children[i].style.flexBasis = part(n);
    });
    place('run').style.width = part(zone.largest_free);
    place('run').style.marginLeft = part(zone.used);
    place('gauge').setAttribute('aria-label', `${
        bytes(zone.used)} of ${bytes(zone.size)} used`);
    say(place('memory-title'), 'Memory');
    pairs(place('memory-facts'), [
        ['Used', `${bytes(zone.used)}, ${percent(zone.used / zone.size)}`,
         'used'],
        ['Free', bytes(open), 'free'],
        ['Largest free run', bytes(zone.largest_free), 'run'],
        ['In all', bytes(zone.size)],
        ['Waiting messages', bytes(picture.messages.bytes)],
        ['Reserve', bytes(zone.reserve), 'spare']]);
}

function page_workers(picture) {
    rows(place('workers'), picture.workers,
         () => row([null, 'n', 'n', 'n', null]),
         (line, worker) => cells(line, [
             String(worker.pid), age(worker.age), count(worker.polls),
             count(worker.streams),
             worker.exiting ? 'ending'
                 : worker.connected === false ? 'without Redis' : 'serving']));
}

function page_refusals(picture) {
    const items = Object.entries(picture.refusals)
        .filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
    rows(place('refusals'), items, () => row([null, 'n', 'n']),
         (line, [name, n]) => cells(line, [
             sentence(REASONS[name] || name.replace(/_/g, ' ')), count(n),
             rate(per_second((p) => p.refusals[name]))]));
    show(place('refusals'), items.length > 0);
    show(place('no-refusals'), items.length === 0);
}

// All that is counted, as it is named in JSON

function page_counters(picture) {
    const body = place('counters');
    if (!body.closest('details').open) {
        return;
    }
    const groups = ['totals', 'requests', 'routes', 'polls', 'lock', 'auth',
                    picture.zone ? 'zone' : 'redis', 'status'].filter(
        (name) => picture[name]);
    if (body.children.length !== groups.length) {
        body.replaceChildren(...groups.map((name) => make('section', null,
            make('h3', {text: sentence(name)}), make('dl'))));
    }
    groups.forEach((name, i) => {
        const figures = Object.entries(picture[name]).filter(
            ([, n]) => typeof n === 'number');
        pairs(body.children[i].lastChild, figures.map(([key, n]) => [
            key.replace(/_/g, ' '), key === 'seconds' ? time(n)
                : name === 'zone' ? bytes(n) : count(n)]));
    });
    const bound = (n, text) => n ? text(n) : 'no limit';
    rows(place('locations'), picture.locations,
         () => row([null, null, 'n', 'n', 'n', 'n', 'n', null]),
         (line, at) => cells(line, [
             at.location, at.auth ? 'on' : 'off', bytes(at.message_size),
             bound(at.mailbox_messages, count), bound(at.mailbox_bytes, bytes),
             bound(at.client_mailboxes, count), time(at.listen_timeout),
             at.redeliver ? 'on' : 'off']));
}

// ------------------------------------------------------------ the last hour

const plots = {};

function plots_begin() {
    const second = (n) => rate(n) + ' /s';
    plots.rates = plot(place('plot-rates'), {
        title: 'Messages a second', unit: rate,
        nothing: 'No message yet.',
        lines: [
            {name: 'accepted', colour: 'blue', text: second, area: true},
            {name: 'delivered', colour: 'green', text: second},
            {name: 'refused', colour: 'red', text: second}]});
    plots.latency = plot(place('plot-latency'), {
        title: 'Latency', decades: 0.001,
        unit: (s) => s < 0.5 ? time(s) : Math.round(s) + ' s',
        nothing: 'No latency was measured in the last hour.',
        lines: [
            {name: 'p99', colour: 'violet-3', text: time},
            {name: 'p90', colour: 'violet-2', text: time},
            {name: 'p50', colour: 'violet', text: time}]});
    plots.queued = plot(place('plot-queued'), {
        title: 'Messages that wait', unit: count, whole: true,
        nothing: 'No message yet.',
        lines: [
            {name: 'messages', colour: 'amber', text: count, area: true}]});
}

async function plots_load() {
    if (document.hidden) {
        return;
    }
    let history;
    try {
        history = await ask('view=history');
    } catch {
        return;                 // the headline says so already
    }
    const column = Object.fromEntries(
        history.columns.map((name, i) => [name, i]));
    const points = (...picks) => history.samples.map((sample) => {
        const at = (name) => sample[column[name]];
        return {time: at('time'), values: picks.map((pick) => pick(at))};
    });
    const every = (name) => (at) => at(name) / Math.max(at('seconds'), 1);
    const plain = (name) => (at) => at(name);
    plots.rates(points(every('accepted'), every('delivered'),
                       every('refused')));
    plots.latency(points(plain('p99'), plain('p90'), plain('p50')));
    plots.queued(points(plain('queued')));
}

// ------------------------------------------------------------ begin

function begin() {
    plots_begin();
    table_begin();
    box_begin();
    place('login').addEventListener('submit', (event) => {
        event.preventDefault();
        live.token = place('token').value.replace(/^Bearer|[^!-~]/gi, '')
            || null;
        place('token').value = '';
        live_look();
    });
    place('counters').closest('details').addEventListener('toggle', () => {
        if (live.picture) {
            page_counters(live.picture);
        }
    });
    document.addEventListener('visibilitychange', () => {
        if (document.hidden) {
            if (live.source) {
                live.source.close();
                live.source = null;
                live.flowing = false;
            }
        } else {
            live_stream();
            live_tick();
            plots_load();
        }
    });
    setInterval(live_tick, 1000);
    setInterval(plots_load, 10000);
    live_stream();
    live_look();
}

function live_look() {
    live_poll();
    plots_load();
    table_load(false);
}

begin();
