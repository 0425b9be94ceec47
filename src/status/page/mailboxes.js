
// The table of mailboxes, which the server searches, sorts and pages, and one
// of them.

// After so many seconds clients call an agent inactive.
const SILENT = 90;

const table = {
    sort: 'name', reverse: false, limit: 25,
    pages: [null], page: 0, next: null, total: 0,
    turn: 0, busy: false, refreshing: false, again: false, timer: null};

function table_query() {
    const query = new URLSearchParams({
        view: 'mailboxes', sort: table.sort, limit: table.limit,
        state: place('state').value});
    const search = place('search').value.trim();
    const after = table.pages[table.page];
    for (const [name, value] of [['search', search], ['after', after],
                                 ['role', place('role').value],
                                 ['reverse', table.reverse ? '1' : '']]) {
        if (value) {
            query.set(name, value);
        }
    }
    return query;
}

// One request at a time.  What is typed meanwhile is asked for next, however
// much it was: the answer to the last of it is never older than one request.
// Only what the table asks by itself is not waited for.

async function table_load(refresh) {
    if (table.busy && (refresh || !table.refreshing)) {
        table.again = table.again || !refresh;
        return;
    }
    clearTimeout(table.timer);
    const turn = ++table.turn;
    table.busy = true;
    table.refreshing = refresh;
    table.again = false;
    const begin = performance.now();
    let error = null;
    try {
        const answer = await ask(table_query());
        if (turn === table.turn && !table.again) {
            table_show(answer);
        }
    } catch (e) {
        error = e;
    }
    if (turn !== table.turn) {
        return;
    }
    table.busy = false;
    if (table.again) {
        table_load(false);
        return;
    }
    table_error(error);
    // A table that takes long is asked for less often.
    const took = performance.now() - begin;
    const wait = Math.min(Math.max(2000, 20 * took), 15000);
    table.timer = setTimeout(table_tick, error ? 5000 : wait);
}

function table_error(error) {
    say(place('table-error'), error ? words(error) : '');
    show(place('table-error'), Boolean(error));
    const told = !error || error.status !== 501;
    show(place('find'), told);
    show(place('table'), told);
    show(document.querySelector('.pager'), told && table.total > table.limit);
}

function table_tick() {
    if (document.hidden || place('mailbox').open) {
        table.timer = setTimeout(table_tick, 1000);
        return;
    }
    table_load(true);
}

function table_restart() {
    table.pages = [null];
    table.page = 0;
    table_load(false);
}

function table_show(answer) {
    const items = answer.mailboxes;
    const first = table.page * table.limit;
    if (items.length === 0 && table.page > 0) {
        table_restart();
        return;
    }
    table.total = answer.total;
    table.next = first + items.length < answer.total ? answer.next : null;
    const owners = items.some((item) => item.owner);
    for (const cell of document.querySelectorAll('#table th.c-owner')) {
        show(cell, owners);
    }
    rows(place('table'), items, table_row,
         (row, item) => table_set(row, item, owners));
    say(place('total'), count(answer.total));
    say(place('range'), items.length
        ? `${count(first + 1)}\u2013${count(first + items.length)} of `
          + count(answer.total) : '');
    place('previous').disabled = table.page === 0;
    place('next').disabled = table.next === null;
    say(place('no-mailboxes'), items.length ? '' : table_nothing());
    show(place('no-mailboxes'), items.length === 0);
}

function table_nothing() {
    const search = place('search').value.trim();
    if (search) {
        return `No mailbox has \u201c${search}\u201d in its name or class,`
            + ' or at the beginning of its id.';
    }
    if (place('state').value === 'terminated') {
        return 'No mailbox is terminated.';
    }
    if (live.picture && live.picture.viewer.admin === false) {
        return 'There is no mailbox that you may use.';
    }
    return 'No agents yet. The mailbox of the first one appears here'
        + ' as soon as it is created.';
}

function table_row() {
    const made = row([null, 'c-class', 'c-role', 'c-state', 'n c-heartbeat',
                      'n', 'n c-oldest', 'n c-progress', 'n c-completed',
                      'c-owner']);
    made.cells[0].append(make('button', {class: 'name'}),
                         make('span', {class: 'mono'}));
    for (const i of [1, 9]) {
        made.cells[i].append(make('span', {class: 'cut'}));
    }
    made.cells[3].append(make('span', {class: 'mark'}));
    made.addEventListener('click', () => {
        if (!String(getSelection())) {
            location.hash = made.dataset.id;
        }
    });
    return made;
}

function table_set(row, item, owners) {
    const [role, uid] = item.id.split(':');
    const [name, kind, , state, heart, ...figures] = row.cells;
    row.dataset.id = item.id;
    say(name.firstChild, item.name || uid.slice(0, 8));
    say(name.lastChild, item.name ? uid.slice(0, 8) : '');
    name.firstChild.title = item.name || '';
    say(kind.firstChild, item.class || NONE);
    kind.firstChild.title = item.class || '';
    say(row.cells[2], role);
    const mark = state_of(item);
    say(state.firstChild, mark);
    state.firstChild.className = 'mark ' + mark;
    say(heart, age(item.heartbeat));
    heart.classList.toggle('late', mark === 'silent');
    [item.queued, item.oldest, item.in_progress, item.completed].forEach(
        (n, i) => {
            say(figures[i], i === 1 ? age(n) : count(n));
            figures[i].classList.toggle('zero', i === 1 ? n === null : !n);
        });
    say(row.cells[9].firstChild, item.owner || NONE);
    show(row.cells[9], owners);
}

function state_of(item) {
    const silent = item.id.startsWith('agent:') && item.heartbeat > SILENT
        && !item.waiters;
    return item.state !== 'active' ? item.state : silent ? 'silent' : 'active';
}

function table_begin() {
    for (const head of document.querySelectorAll('#table th[data-sort]')) {
        head.firstElementChild.addEventListener('click', () => {
            const same = table.sort === head.dataset.sort;
            table.reverse = same && !table.reverse;
            table.sort = head.dataset.sort;
            table_heads();
            table_restart();
        });
    }
    table_heads();
    place('search').addEventListener('input', table_restart);
    place('state').addEventListener('change', table_restart);
    place('role').addEventListener('change', table_restart);
    place('find').addEventListener('submit', (event) => {
        event.preventDefault();
    });
    place('next').addEventListener('click', () => {
        if (table.next) {       // else it was pressed twice
            table.pages[++table.page] = table.next;
            table.next = null;
            table_load(false);
        }
    });
    place('previous').addEventListener('click', () => {
        table.page--;
        table_load(false);
    });
    document.addEventListener('keydown', (event) => {
        if (event.key === '/' && !event.ctrlKey && !event.metaKey
            && !/^(INPUT|SELECT)$/.test(event.target.tagName)
            && !place('mailbox').open) {
            event.preventDefault();
            place('search').focus();
        }
    });
}

// Names and ids go from A on, numbers and ages from the largest on.

function table_heads() {
    for (const head of document.querySelectorAll('#table th[data-sort]')) {
        const up = /^(name|class)$/.test(head.dataset.sort);
        if (head.dataset.sort === table.sort) {
            head.setAttribute('aria-sort', up !== table.reverse
                ? 'ascending' : 'descending');
        } else {
            head.removeAttribute('aria-sort');
        }
    }
}


// One mailbox; the page's address says which, so that it can be passed on.

const box = {id: null, timer: null, item: null};

function box_follow() {
    const id = decodeURIComponent(location.hash.slice(1));
    const dialog = place('mailbox');
    clearTimeout(box.timer);
    if (!/^(agent|user):/.test(id)) {
        box.id = null;
        dialog.close();
        return;
    }
    if (box.id !== id) {
        box.id = id;
        box.item = null;
        say(place('box-name'), 'Mailbox');
        say(place('box-id'), id);
        show(place('box-class'), false);
        show(place('box-body'), false);
        show(place('box-error'), false);
        box_ask(false);
    }
    if (!dialog.open) {
        dialog.showModal();
    }
    box_load();
}

async function box_load() {
    const id = box.id;
    let error = null;
    clearTimeout(box.timer);
    try {
        const answer = await ask(new URLSearchParams({view: 'mailbox', id}));
        if (id !== box.id) {
            return;
        }
        box_show(answer);
    } catch (e) {
        error = e;
    }
    if (id !== box.id) {
        return;
    }
    box_error(error);
    if (error && (error.status === 404 || error.status === 403)) {
        show(place('box-body'), false);
    }
    box.timer = setTimeout(box_load, error ? 5000 : 2000);
}

function box_error(error) {
    say(place('box-error'), error ? words(error) : '');
    show(place('box-error'), Boolean(error));
}

function box_show(answer) {
    const item = answer.mailbox;
    const uid = item.id.split(':')[1];
    box.item = item;
    say(place('box-name'), item.name || uid.slice(0, 8));
    say(place('box-class'), item.class || '');
    show(place('box-class'), Boolean(item.class));
    box_facts(item);
    rows(place('box-messages'), answer.messages,
         () => row([null, null, 'n', 'n', 'n', 'mono']), box_message);
    show(place('box-messages'), answer.messages.length > 0);
    show(place('box-empty'), answer.messages.length === 0);
    say(place('box-more'), answer.more
        ? `the oldest ${answer.messages.length} of ${count(item.queued)}` : '');
    show(place('box-body'), true);
    show(place('box-actions'), Boolean(live.picture
        && live.picture.viewer.write) && item.state === 'active');
}

function box_facts(item) {
    const facts = [
        ['State', state_of(item)],
        ['Last sign of life', item.heartbeat === null ? 'none yet'
            : age(item.heartbeat) + ' ago'],
        ['Clients that wait', count(item.waiters)],
        ['Queued', count(item.queued)],
        ['Oldest', age(item.oldest)],
        ['On the way', count(item.leased)],
        ['Bytes of these', bytes(item.bytes)],
        ['In progress', count(item.in_progress)],
        ['Not answered', count(item.pending)],
        ['Kept for redelivery', count(item.kept)],
        ['Completed', count(item.completed)],
        ['Requests sent', count(item.outgoing)],
        ['Shared with', many(item.shares, 'group')]];
    if (item.owner) {
        facts.splice(1, 0, ['Owner', item.owner]);
    }
    pairs(place('box-facts'), facts);
}

function box_message(row, message) {
    const from = message.from;
    const there = Boolean(from && typeof from.uid === 'string');
    const name = there ? from.name || from.uid.slice(0, 8) : NONE;
    const id = there ? `${from.role === 'user' ? 'user' : 'agent'}:${from.uid}`
        : '';
    let link = row.cells[0].firstChild;
    if (!link) {
        link = make('a', {class: 'cut'});
        row.cells[0].append(link);
    }
    say(link, string(name));
    if (there) {
        link.href = '#' + encodeURIComponent(id);
        link.title = id;
    } else {
        link.removeAttribute('href');
    }
    say(row.cells[1], string(message.kind));
    say(row.cells[5], string(message.tag));
    say(row.cells[2], bytes(message.size));
    say(row.cells[3], age(message.age));
    say(row.cells[4], count(message.deliveries));
    row.cells[5].title = message.label === null
        ? '' : 'label ' + string(message.label);
}

function box_ask(asked) {
    show(place('terminate'), !asked);
    show(place('confirm'), asked);
    if (asked) {
        const item = box.item;
        say(place('confirm-text'), 'Terminate '
            + (item.name ? `\u201c${item.name}\u201d` : item.id)
            + '? This cannot be taken back. '
            + (item.queued ? many(item.queued, 'queued message is',
                                  'queued messages are') + ' dropped. ' : '')
            + (item.pending ? many(item.pending, 'request that waits gets',
                                   'requests that wait get')
               + ' an error as its answer.' : ''));
        place('confirm-no').focus();
    }
}

async function box_terminate() {
    place('confirm-yes').disabled = true;
    try {
        await ask(new URLSearchParams({view: 'mailbox', id: box.id,
                                       action: 'terminate'}), 'POST');
        box_ask(false);
        place('close').focus();
        await box_load();
        table_load(false);
    } catch (e) {
        box_ask(false);
        clearTimeout(box.timer);
        box_error(e);
        box.timer = setTimeout(box_load, 10000);
    }
    place('confirm-yes').disabled = false;
}

function box_begin() {
    const dialog = place('mailbox');
    const leave = () => {
        history.replaceState(null, '', location.pathname + location.search);
        box_follow();
    };
    place('close').addEventListener('click', leave);
    dialog.addEventListener('cancel', (event) => {
        event.preventDefault();
        leave();
    });
    dialog.addEventListener('click', (event) => {
        if (event.target === dialog
            && event.clientX < dialog.getBoundingClientRect().left) {
            leave();
        }
    });
    place('terminate').addEventListener('click', () => box_ask(true));
    place('confirm-no').addEventListener('click', () => {
        box_ask(false);
        place('terminate').focus();
    });
    place('confirm-yes').addEventListener('click', box_terminate);
    addEventListener('hashchange', box_follow);
    box_follow();
}
