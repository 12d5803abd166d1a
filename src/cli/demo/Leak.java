/** Keeps every request that it ever saw. */
public class Leak {
    static Request last;

    static final class Request {
        final Request previous;
        final long number;
        final long received;
        final long amount;

        Request(Request previous, long number) {
            this.previous = previous;
            this.number = number;
            this.received = System.nanoTime();
            this.amount = number * 100;
        }
    }

    public static void main(String[] args) {
        System.out.println("serving");
        for (long number = 0; ; number++) {
            last = new Request(last, number);
        }
    }
}
