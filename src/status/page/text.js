'use strict';

// Elements, and figures in words.  Text gets into the page as text only: there
// is no innerHTML here, nor anything like it.

function place(id) {
    return document.getElementById(id);
}

function fill(element, properties, children) {
    for (const [name, value] of Object.entries(properties || {})) {
        if (name === 'text') {
            element.textContent = value;
        } else if (value !== null) {
            element.setAttribute(name, value);
        }
    }
    element.append(...children);
    return element;
}

function make(tag, properties, ...children) {
    return fill(document.createElement(tag), properties, children);
}

function draw(tag, properties, ...children) {
    return fill(document.createElementNS('http://www.w3.org/2000/svg', tag),
                properties, children);
}

// What is the same stays as it is: a reader of the screen is not told again,
// and what somebody has marked stays marked.

function say(element, text) {
    if (element.textContent !== text) {
        element.textContent = text;
    }
}

function show(element, shown) {
    element.hidden = !shown;
}

// A figure that a store does not tell is null.

const NONE = '\u2013';

function known(n) {
    return n !== null && n !== undefined;
}

function count(n) {
    return !known(n) ? NONE : n.toLocaleString('en', {maximumFractionDigits: 0});
}

function many(n, one, more) {
    return count(n) + ' ' + (n === 1 ? one : more || one + 's');
}

function rate(n) {
    if (n >= 10 || n === 0) {
        return count(n);
    }
    return n < 0.1 ? '< 0.1' : n.toFixed(1);
}

// Of seconds: 3 ms, 4.2 s, 12 min, 3 h 12 min, 4 d 3 h

function time(s) {
    if (!known(s)) {
        return NONE;
    }
    if (s < 0.9995) {
        return s < 0.001 ? '< 1 ms' : Math.round(s * 1000) + ' ms';
    }
    if (s < 59.5) {
        return (s < 9.95 ? s.toFixed(1) : Math.round(s)) + ' s';
    }
    const minutes = Math.floor(s / 60 + 0.008);
    if (minutes < 60) {
        return minutes + ' min';
    }
    const hours = Math.floor(minutes / 60);
    if (hours < 24) {
        return join(hours, 'h', minutes % 60, 'min');
    }
    return join(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function micros(s) {
    return known(s) && s < 0.001 ? Math.round(s * 1e6) + ' \u00b5s' : time(s);
}

function join(large, unit, small, part) {
    return large + ' ' + unit + (small ? ' ' + small + ' ' + part : '');
}

// An age in whole seconds: a column of them is easier to read

function age(s) {
    if (!known(s)) {
        return NONE;
    }
    return s < 59.5 ? Math.floor(s) + ' s' : time(s);
}

function bytes(n) {
    if (!known(n)) {
        return NONE;
    }
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    while (n >= 1024 && unit < 4) {
        n /= 1024;
        unit++;
    }
    const digits = unit === 0 || n >= 100 ? 0 : 1;
    return n.toFixed(digits).replace(/\.0$/, '') + ' ' + units[unit];
}

function clock(seconds, precise) {
    return new Date(seconds * 1000).toLocaleTimeString('en-GB', {
        hour: '2-digit', minute: '2-digit',
        second: precise ? '2-digit' : undefined});
}

function percent(part) {
    return (part > 0 && part < 0.01 ? '< 1' : Math.round(part * 100)) + ' %';
}

// The rows of a table's body: those that are there are used again, so that
// the keyboard's place is kept.  "cells" are functions from a row to a text,
// or to what a cell is made of, which is then made once and set by "set".

function rows(table, items, begin, set) {
    const body = table.tBodies[0];
    while (body.rows.length > items.length) {
        body.lastElementChild.remove();
    }
    items.forEach((item, i) => {
        let row = body.rows[i];
        if (!row) {
            row = begin();
            body.append(row);
        }
        set(row, item);
    });
}

function cells(row, texts) {
    texts.forEach((text, i) => say(row.cells[i], text));
}

function row(classes) {
    return make('tr', null, ...classes.map(
        (name) => make('td', name ? {class: name} : null)));
}

// What a client wrote: any JSON

function string(value) {
    if (!known(value)) {
        return NONE;
    }
    return typeof value === 'string' ? value : JSON.stringify(value);
}

// Pairs of a name and a value, and of what colour stands for it

function pairs(list, items) {
    while (list.children.length > items.length) {
        list.lastElementChild.remove();
    }
    items.forEach(([name, value, colour], i) => {
        const pair = list.children[i];
        if (pair) {
            say(pair.firstChild.lastChild, name);
            say(pair.lastChild, value);
        } else {
            const swatch = colour
                ? [make('span', {class: 'swatch ' + colour})] : [];
            list.append(make('div', null,
                             make('dt', null, ...swatch,
                                  make('span', {text: name})),
                             make('dd', {text: value})));
        }
    });
}
