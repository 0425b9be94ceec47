
// A plot of lines over time, in SVG.
//
//     lines   name, colour (a class), text of a value, and whether its area
//             is filled
//     unit    text of a value on the axis
//     whole   there are no parts of it
//     decades a logarithmic axis from there on; else it begins at zero
//
// A value is null where there was none: the line has a gap there.

const SVG = {height: 190, left: 46, right: 8, top: 8, bottom: 22};

function plot(section, options) {
    const svg = draw('svg', {tabindex: 0, role: 'img'});
    const tip = make('div', {class: 'tip', hidden: ''});
    const empty = make('p', {class: 'empty', hidden: ''});
    const box = make('div', {class: 'plot'}, svg, tip, empty);
    const legend = make('ul', {class: 'legend'});
    const last = options.lines.map((line) => {
        const value = make('b');
        legend.append(make('li', {class: 'key ' + line.colour},
                           make('span', {text: line.name}), value));
        return value;
    });
    const state = {options, svg, tip, empty, points: [], at: null};
    section.append(box, legend);
    new ResizeObserver(() => plot_draw(state)).observe(box);
    plot_pointer(state);
    return (points) => {
        state.points = points;
        const latest = points[points.length - 1];
        options.lines.forEach((line, i) => say(last[i],
            latest ? line.text(latest.values[i]) : NONE));
        plot_draw(state);
    };
}

function plot_draw(state) {
    const {svg, points, options} = state;
    const width = svg.clientWidth;
    svg.replaceChildren();
    plot_label(state);
    if (width === 0) {
        return;
    }
    svg.setAttribute('viewBox', `0 0 ${width} ${SVG.height}`);
    const scale = plot_scale(state, width);
    state.scale = scale;
    for (const value of scale.ticks) {
        const y = scale.y(value);
        svg.append(
            draw('line', {class: 'grid', x1: SVG.left, x2: width - SVG.right,
                          y1: y, y2: y}),
            draw('text', {x: SVG.left - 8, y: y + 4, 'text-anchor': 'end',
                          text: options.unit(value)}));
    }
    for (const seconds of scale.times) {
        svg.append(draw('text', {
            x: scale.x(seconds), y: SVG.height - 4, 'text-anchor': 'middle',
            text: clock(seconds)}));
    }
    options.lines.forEach((line, i) => plot_line(state, line, i));
    plot_cross(state);
}

function plot_scale({points, options}, width) {
    const end = points.length ? points[points.length - 1].time : 3600;
    const begin = points.length
        ? Math.min(Math.max(points[0].time, end - 3600), end - 300) : 0;
    let most = 0;
    for (const point of points) {
        for (const value of point.values) {
            most = Math.max(most, value || 0);
        }
    }
    const axis = options.decades
        ? plot_decades(most, options.decades)
        : plot_linear(most, options.whole ? 1 : 0.5);
    const inner = width - SVG.left - SVG.right;
    const high = SVG.height - SVG.top - SVG.bottom;
    const step = [60, 120, 300, 600, 900, 1800].find(
        (s) => (end - begin) / s * 58 <= inner) || 1800;
    const times = [];
    for (let t = Math.ceil(begin / step) * step; t <= end; t += step) {
        const x = SVG.left + (t - begin) / (end - begin) * inner;
        if (points.length && x < width - 18 && x > SVG.left + 12) {
            times.push(t);
        }
    }
    return {
        begin, end, inner, times, ticks: axis.ticks,
        x: (t) => SVG.left + (t - begin) / (end - begin) * inner,
        y: (v) => SVG.top + (1 - axis.part(v)) * high};
}

// Four steps or so, none smaller than "least"

function plot_linear(most, least) {
    const rough = Math.max(most / 4, least);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, power < 10 ? 5 : 2.5, 5, 10].map(
        (n) => n * power).find((n) => n >= rough);
    const top = Math.max(Math.ceil(most / step), 2) * step;
    const ticks = [];
    for (let value = 0; value <= top * 1.001; value += step) {
        ticks.push(value);
    }
    return {ticks, part: (v) => v / top};
}

function plot_decades(most, first) {
    const top = Math.max(1.3 * most, 100 * first);
    const ticks = [];
    for (let value = first; value <= top; value *= 10) {
        ticks.push(value);
    }
    // A little of what is below the first tick is to be seen, too.
    const low = Math.log10(first) - 0.35;
    const high = Math.log10(top);
    return {ticks, part: (v) => Math.max(
        (Math.log10(Math.max(v, 1e-9)) - low) / (high - low), 0)};
}

function plot_line({svg, points, scale}, line, i) {
    let path = '';
    let area = '';
    let start = null;
    let before = null;
    const close = () => {
        if (start !== null) {
            area += `L${before.toFixed(1)} ${scale.y(0).toFixed(1)}`
                + `L${start.toFixed(1)} ${scale.y(0).toFixed(1)}Z`;
        }
        start = null;
    };
    let time = 0;
    for (const point of points) {
        const value = point.values[i];
        if (!known(value)) {
            close();
            continue;
        }
        if (point.time - time > 60) {
            close();
        }
        time = point.time;
        const x = scale.x(point.time);
        const step = (start === null ? 'M' : 'L')
            + `${x.toFixed(1)} ${scale.y(value).toFixed(1)}`;
        path += step;
        area += step;
        start = start === null ? x : start;
        before = x;
    }
    close();
    if (line.area) {
        svg.append(draw('path', {class: 'area ' + line.colour, d: area}));
    }
    // A point alone is a dot: round caps show a line without length.
    svg.append(draw('path', {class: 'line ' + line.colour,
        d: path.replace(/M(\S+ \S+)(?=M|$)/g, 'M$1h0')}));
}

function plot_label({svg, empty, points, options}) {
    const words = [];
    options.lines.forEach((line, i) => {
        const values = points.map((p) => p.values[i]).filter(known);
        if (values.length) {
            words.push(`${line.name}: ${line.text(values[values.length - 1])}`
                + ` now, at most ${line.text(Math.max(...values))}`);
        }
    });
    const nothing = points.length === 0
        ? 'The first point comes within 20 seconds.'
        : words.length === 0 ? options.nothing : '';
    say(empty, nothing);
    show(empty, nothing !== '');
    svg.setAttribute('aria-label', `${options.title}, the last hour. `
        + (words.join('; ') || nothing));
}

// The pointer's place, or that of the arrow keys, and what was there

function plot_pointer(state) {
    const {svg} = state;
    const move = (i) => {
        state.at = i === null || !state.points.length
            ? null : Math.min(Math.max(i, 0), state.points.length - 1);
        plot_draw(state);
    };
    const nearest = (event) => {
        const {scale, points} = state;
        if (!scale || !points.length) {
            return null;
        }
        const part = (event.clientX - svg.getBoundingClientRect().left
                      - SVG.left) / scale.inner;
        const wanted = scale.begin + part * (scale.end - scale.begin);
        let best = 0;
        points.forEach((point, i) => {
            if (Math.abs(point.time - wanted)
                < Math.abs(points[best].time - wanted)) {
                best = i;
            }
        });
        return best;
    };
    svg.addEventListener('pointermove', (event) => move(nearest(event)));
    svg.addEventListener('pointerdown', (event) => move(nearest(event)));
    svg.addEventListener('pointerleave', () => move(null));
    svg.addEventListener('blur', () => move(null));
    svg.addEventListener('keydown', (event) => {
        const end = state.points.length - 1;
        const at = state.at === null ? end : state.at;
        const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0,
                    End: end, Escape: null}[event.key];
        if (to !== undefined) {
            event.preventDefault();
            move(to);
        }
    });
}

function plot_cross({svg, tip, points, scale, options, at}) {
    const point = at === null ? null : points[at];
    show(tip, Boolean(point));
    if (!point) {
        return;
    }
    const x = scale.x(point.time);
    svg.append(draw('line', {class: 'cross', x1: x, x2: x, y1: SVG.top,
                             y2: SVG.height - SVG.bottom}));
    tip.replaceChildren(make('div', {text: clock(point.time, true)}));
    options.lines.forEach((line, i) => {
        const value = point.values[i];
        if (known(value)) {
            svg.append(draw('circle', {class: line.colour, cx: x,
                                       cy: scale.y(value), r: 4}));
        }
        tip.append(make('div', {class: 'key ' + line.colour},
                        make('span', {text: line.name}),
                        make('b', {text: line.text(value)})));
    });
    const left = x + 14 + tip.offsetWidth > svg.clientWidth
        ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.transform = `translate(${Math.max(left, 0)}px, 4px)`;
}
