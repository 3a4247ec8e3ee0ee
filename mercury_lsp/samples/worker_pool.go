// Package pool runs jobs on a fixed number of goroutines and collects their results.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrClosed is returned when a job is submitted to a pool that was closed.
var ErrClosed = errors.New("pool: closed")

// Job is one piece of work.
type Job func(ctx context.Context) error

// Result tells how one job ended.
type Result struct {
	Name     string
	Err      error
	Duration time.Duration
}

// Failed reports whether the job returned an error.
func (r Result) Failed() bool {
	return r.Err != nil
}

type task struct {
	name string
	job  Job
}

// Pool distributes jobs among its workers.
type Pool struct {
	tasks   chan task
	results chan Result
	group   sync.WaitGroup
	mutex   sync.Mutex
	closed  bool
	timeout time.Duration
}

// New starts a pool with the given number of workers.
func New(ctx context.Context, workers int, timeout time.Duration) (*Pool, error) {
	if workers < 1 {
		return nil, fmt.Errorf("pool: need at least one worker, got %d", workers)
	}
	pool := &Pool{
		tasks:   make(chan task, workers),
		results: make(chan Result, workers),
		timeout: timeout,
	}
	for i := 0; i < workers; i++ {
		pool.group.Add(1)
		go pool.work(ctx)
	}
	go func() {
		pool.group.Wait()
		close(pool.results)
	}()
	return pool, nil
}

// Submit hands a job to the next free worker, and blocks until there is one.
func (p *Pool) Submit(ctx context.Context, name string, job Job) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		return ErrClosed
	}
	select {
	case p.tasks <- task{name: name, job: job}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Results returns the channel on which the results arrive. It is closed after the last one.
func (p *Pool) Results() <-chan Result {
	return p.results
}

// Close stops accepting jobs. Those that were submitted before are still run.
func (p *Pool) Close() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if !p.closed {
		p.closed = true
		close(p.tasks)
	}
}

func (p *Pool) work(ctx context.Context) {
	defer p.group.Done()
	for task := range p.tasks {
		start := time.Now()
		err := p.run(ctx, task.job)
		p.results <- Result{
			Name:     task.name,
			Err:      err,
			Duration: time.Since(start),
		}
	}
}

func (p *Pool) run(ctx context.Context, job Job) (err error) {
	if p.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.timeout)
		defer cancel()
	}
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("pool: job panicked: %v", reason)
		}
	}()
	return job(ctx)
}

// RunAll runs all jobs and returns the results of those that failed.
func RunAll(ctx context.Context, workers int, jobs map[string]Job) ([]Result, error) {
	pool, err := New(ctx, workers, 0)
	if err != nil {
		return nil, err
	}
	go func() {
		defer pool.Close()
		for name, job := range jobs {
			if err := pool.Submit(ctx, name, job); err != nil {
				return
			}
		}
	}()
	var failed []Result
	for result := range pool.Results() {
		if result.Failed() {
			failed = append(failed, result)
		}
	}
	return failed, nil
}
