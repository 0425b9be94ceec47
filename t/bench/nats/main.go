// The load of `make bench` on NATS, as its users write it: requesters and
// responders with nats.go, each with a connection of its own.  What it prints
// is what bench-load prints.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

var (
	port    = flag.Int("p", 4222, "port of the server")
	pairs   = flag.Int("n", 16, "requesters, and as many responders")
	seconds = flag.Float64("s", 2, "seconds that are measured")
	warm    = flag.Float64("w", 0.3, "seconds before")
	seed    = flag.Int("S", 1, "what the subjects begin with")
	watched = flag.String("P", "", "pids whose CPU time is counted")
)

type result struct {
	Ops     int     `json:"ops"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	Errors  int     `json:"errors"`
	First   string  `json:"first_error"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
	CPU     float64 `json:"cpu"`
	Own     float64 `json:"own"`
}

// cpuUsed is the scheduler's count of nanoseconds, of all threads.
func cpuUsed() (sum int64) {
	for _, pid := range strings.Fields(*watched) {
		dir := "/proc/" + pid + "/task"
		tasks, err := os.ReadDir(dir)
		if err != nil {
			log.Fatal(err)
		}
		for _, task := range tasks {
			var ns int64
			text, err := os.ReadFile(dir + "/" + task.Name() + "/schedstat")
			if err == nil {
				fmt.Sscan(string(text), &ns)
				sum += ns
			}
		}
	}
	return sum
}

func cpuOwn() int64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func connect() *nats.Conn {
	c, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func subject(i int) string {
	return fmt.Sprintf("agent.%08x.%d", *seed, i)
}

func respond(subject string, response []byte) *nats.Conn {
	c := connect()
	_, err := c.Subscribe(subject, func(m *nats.Msg) { m.Respond(response) })
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// ask requests until the end, and keeps the times of what began after start.
func ask(c *nats.Conn, subject string, request []byte,
	start, end time.Time) (took []time.Duration, err error) {
	for {
		began := time.Now()
		if began.After(end) {
			return took, nil
		}
		if _, err := c.Request(subject, request, 5*time.Second); err != nil {
			return took, err
		}
		if now := time.Now(); began.After(start) && now.Before(end) {
			took = append(took, now.Sub(began))
		}
	}
}

func micro(took []time.Duration, q float64) float64 {
	if len(took) == 0 {
		return 0
	}
	return float64(took[int(q*float64(len(took)-1)+0.5)]) / 1e3
}

// Standard input has two lines: the request and the response.
func messages() [2][]byte {
	var text [2][]byte
	in := bufio.NewScanner(os.Stdin)
	for i := range text {
		if !in.Scan() {
			log.Fatal("no message on standard input")
		}
		text[i] = []byte(in.Text())
	}
	return text
}

func main() {
	flag.Parse()
	text := messages()
	time.AfterFunc(2*time.Minute, func() { log.Fatal("not done") })

	var (
		wg   sync.WaitGroup
		lock sync.Mutex
		all  []time.Duration
		r    result
	)

	users := make([]*nats.Conn, *pairs)
	for i := range users {
		users[i] = connect()
		defer users[i].Close()
		defer respond(subject(i), text[1]).Close()
	}

	start := time.Now().Add(time.Duration(*warm * 1e9))
	end := start.Add(time.Duration(*seconds * 1e9))

	for i, c := range users {
		wg.Go(func() {
			took, err := ask(c, subject(i), text[0], start, end)
			lock.Lock()
			defer lock.Unlock()
			all = append(all, took...)
			if err != nil {
				r.Errors++
				r.First = err.Error()
			}
		})
	}

	time.Sleep(time.Until(start))
	cpu, own := cpuUsed(), cpuOwn()
	time.Sleep(time.Until(end))
	cpu, own = cpuUsed()-cpu, cpuOwn()-own
	wg.Wait()

	slices.Sort(all)
	r.Ops = len(all)
	r.Seconds = end.Sub(start).Seconds()
	r.Rate = float64(r.Ops) / r.Seconds
	r.P50, r.P99, r.Max = micro(all, 0.5), micro(all, 0.99), micro(all, 1)
	if r.Ops > 0 {
		r.CPU = float64(cpu) / 1e3 / float64(r.Ops)
		r.Own = float64(own) / 1e3 / float64(r.Ops)
	}
	json.NewEncoder(os.Stdout).Encode(r)
}
